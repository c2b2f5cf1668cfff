"""People whom two halves of LFW share: found and false, against the number of false matches that is expected.

    python -m benchmarks.overlap --data ../shared/data --store build/overlap-store > docs/figures/overlap.md

Each split draws people anew: SHARED people have different photographs in both sets, and each set has OTHERS more.
Images are embedded once; every split is a whole overlap of embeddings, so near-duplicates are not looked for. Pairs
that the list of label errors of LFW names are counted apart: they are people whom LFW names twice, or wrongly.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import unveil

SHARED = 200
OTHERS = (1300, 300)
RATES = ("fmr:1e-4", "fmr:1e-5", "fmr:1e-6")
MODELS = {"default": None, "w600k_mbf": "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"}


@dataclass(frozen=True)
class Outcome:
    """One overlap: shared people found, false pairs, pairs of known label errors, and the expected false pairs."""

    found: int
    false: int
    errors: int
    expected: float
    low: float
    high: float
    cosine: float


def faces(data: Path, store: Path, model: str | None) -> dict[str, Any]:
    """The vectors, ids and people of LFW."""
    made = unveil.embed(
        data / "lfw/lfw_aligned112.zip", model=None if model is None else data / model, aligned="yes", store=store
    ).embedded
    return {"vectors": np.asarray(made.vectors), "ids": np.array(made.ids), "people": np.array(made.people)}


def split(lfw: dict[str, Any], seed: int, others: int) -> tuple[unveil.Embeddings, unveil.Embeddings]:
    """Two sets that share SHARED people, no image, and have ``others`` people more each."""
    rng = np.random.default_rng(seed)
    names, codes = np.unique(lfw["people"], return_inverse=True)
    several = rng.permutation(np.flatnonzero(np.bincount(codes) > 1))
    rest = rng.permutation(np.concatenate([several[SHARED:], np.flatnonzero(np.bincount(codes) == 1)]))
    sides = [np.isin(codes, rest[k * others : (k + 1) * others]) for k in range(2)]
    for person in several[:SHARED]:
        rows = rng.permutation(np.flatnonzero(codes == person))
        cut = rng.integers(1, len(rows))
        sides[0][rows[:cut]] = True
        sides[1][rows[cut:]] = True
    a, b = (
        unveil.Embeddings(
            lfw["vectors"][side], list(names[codes[side]]), [id.replace("/", "_") for id in lfw["ids"][side]], "lfw"
        )
        for side in sides
    )
    return a, b


def outcome(sets: tuple[unveil.Embeddings, unveil.Embeddings], threshold: str, known: set[frozenset[str]]) -> Outcome:
    """One overlap at one threshold."""
    with tempfile.TemporaryDirectory() as folder:
        result = unveil.overlap(*sets, out=Path(folder) / "run", threshold=threshold, top_pairs=1)
    if result.threshold is None or result.threshold.expected_false is None:
        raise ValueError("the sets are too small")
    pairs = {(p.a_person, p.b_person) for p in result.people}
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    errors = sum(frozenset(pair) in known for pair in wrong)
    expected = result.threshold.expected_false
    return Outcome(
        len(pairs) - len(wrong),
        len(wrong) - errors,
        errors,
        *(expected.value, expected.low, expected.high),
        result.threshold.cosine,
    )


def label_errors(file: Path) -> set[frozenset[str]]:
    """Pairs of names of LFW that are one person or one image."""
    with file.open(newline="") as rows:
        return {frozenset((row["a"].split("/")[0], row["b"].split("/")[0])) for row in csv.DictReader(rows)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--store", type=Path, default=Path("build/overlap-store"))
    parser.add_argument("--splits", type=int, default=10)
    args = parser.parse_args()
    known = label_errors(args.data / "lfw/cross_label_matches.csv")
    print(
        f"# The overlap of two halves of LFW\n\nMade by `python -m benchmarks.overlap`, {args.splits} splits a row. "
        f"{SHARED} people are in both sets, with different photographs. Found, false and expected are means of the "
        "splits; in brackets: least and most found, and the mean interval of the expected number. Label errors: pairs "
        "that LFW names twice or wrongly, which are no false matches. The expected number is of all false pairs; a "
        "pair that is nobody's closest is not listed, so at fmr:1e-4 fewer are found.\n"
    )
    print("| model | people a set | threshold | cosine | found of 200 | false pairs | expected | label errors |")
    print("|---|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        lfw = faces(args.data, args.store, model)
        for others in OTHERS:
            splits = [split(lfw, seed, others) for seed in range(args.splits)]
            for threshold in ("significant", *RATES):
                found = [outcome(sets, threshold, known) for sets in splits]
                mean = {key: np.mean([getattr(o, key) for o in found]) for key in vars(found[0])}
                people = [o.found for o in found]
                cells = (
                    *(name, f"{others + SHARED:,}", threshold, f"{mean['cosine']:.3f}"),
                    *(f"{mean['found']:.1f} ({min(people)} to {max(people)})", f"{mean['false']:.1f}"),
                    f"{mean['expected']:.1f} ({mean['low']:.1f} to {mean['high']:.1f})",
                    f"{mean['errors']:.1f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
