"""People whom two halves of LFW share: found and false, against the number of false matches that is expected.

    python -m benchmarks.overlap --data ../shared/data --store build/overlap-store > docs/figures/overlap.md

Each split draws people anew: SHARED people have different photographs in both sets, and each set has OTHERS more.
Images are embedded once; every split is a whole overlap of embeddings, so near-duplicates are not looked for. Pairs
that the list of label errors of LFW names are counted apart: they are people whom LFW names twice, or wrongly.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

import unveil
from unveil.images import open_source
from unveil.io.atomic import write_bytes
from unveil.results import PeoplePair

SHARED = 200
OTHERS = (1300, 300)
RATES = (1e-4, 1e-5, 1e-6)
# Images of one set that are in the other, and what is done to them.
COPIED = 120
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "JPEG quality 40": lambda image: image,
    "half the size": lambda image: image.resize((56, 56)).resize((112, 112)),
    "mirrored": ImageOps.mirror,
    "60% faded": lambda image: ImageEnhance.Color(image).enhance(0.4),
    "rotated by 6 degrees": lambda image: image.rotate(6, Image.Resampling.BICUBIC),
}
MODELS = {"default": None, "w600k_mbf": "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"}


@dataclass(frozen=True)
class Outcome:
    """The pairs from one threshold on: shared people found, false pairs, pairs of known label errors, false pairs that
    are expected, and the cosine."""

    found: int
    false: int
    errors: int
    expected: float
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


def outcomes(sets: tuple[unveil.Embeddings, unveil.Embeddings], known: set[frozenset[str]]) -> dict[str, Outcome]:
    """One overlap, at every threshold."""
    with tempfile.TemporaryDirectory() as folder:
        result = unveil.overlap(*sets, out=Path(folder) / "run", top_pairs=100_000)
    pairs = [p for p in result.pairs if p.expected_false is not None]
    numbers = np.array([p.expected_false for p in pairs])
    most = {f"fmr:{rate:g}": rate * result.pairs_of_people for rate in RATES}
    limits = {"significant": numbers[: len(result.people)].max(initial=0.0), **most}
    return {
        name: _outcome([p for p in pairs if float(p.expected_false or 0) <= limit], limit, known)
        for name, limit in limits.items()
    }


def _outcome(pairs: list[PeoplePair], expected: float, known: set[frozenset[str]]) -> Outcome:
    wrong = [p for p in pairs if p.a_person != p.b_person]
    errors = sum(frozenset((p.a_person, p.b_person)) in known for p in wrong)
    cosine = min((p.cosine for p in pairs if p.cosine is not None), default=float("nan"))
    return Outcome(len(pairs) - len(wrong), len(wrong) - errors, errors, float(expected), cosine)


def label_errors(file: Path) -> set[frozenset[str]]:
    """Pairs of names of LFW that are one person or one image."""
    with file.open(newline="") as rows:
        return {frozenset((row["a"].split("/")[0], row["b"].split("/")[0])) for row in csv.DictReader(rows)}


def copies(data: Path, store: Path) -> None:
    """Prints how many changed copies of the images of one set in another are found, and how many others."""
    lfw = open_source(data / "lfw/lfw_aligned112.zip")
    first = {str(record.person): record for record in reversed(lfw.records)}
    people = [first[name] for name in np.random.default_rng(0).permutation(sorted(first))]
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, record in enumerate(people[: 2 * COPIED]):
            write_bytes(folder / "a" / record.id, lfw.read(record))
            if k < COPIED:
                change = list(CHANGES)[k % len(CHANGES)]
                write_bytes(folder / "b" / f"copy-{record.id}", changed(lfw.read(record), change))
                made[record.id] = change
        for record in people[2 * COPIED : 4 * COPIED]:
            write_bytes(folder / "b" / record.id, lfw.read(record))
        result = unveil.overlap(folder / "a", folder / "b", out=folder / "run", aligned="yes", store=store)
    found = {image.a_id for image in result.images}
    others = len(found - set(made))
    print(
        f"\n## Copies\n\n{COPIED} of {2 * COPIED} images of A are in B, changed, beside {2 * COPIED} of other people; "
        f"default model. Images of A that are called images of B without being so: {others}.\n\n"
        "| change | copies | found as the same image |\n|---|---|---|"
    )
    for change in CHANGES:
        of_change = [id for id, one in made.items() if one == change]
        print(f"| {change} | {len(of_change)} | {len(found.intersection(of_change))} |")


def changed(data: bytes, change: str) -> bytes:
    """An image file after one of CHANGES."""
    made, buffer = CHANGES[change](Image.open(io.BytesIO(data)).convert("RGB")), io.BytesIO()
    if change == "none":
        return data
    made.save(buffer, "JPEG", quality=40 if change == "JPEG quality 40" else 85)
    return buffer.getvalue()


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
        "splits; in brackets: least and most found. Label errors: pairs that LFW names twice or wrongly, which are no "
        "false matches. The expected number is of all false pairs; a pair that is nobody's closest is not listed, so "
        "at fmr:1e-4 fewer are found.\n"
    )
    print("| model | people a set | threshold | cosine | found of 200 | false pairs | expected | label errors |")
    print("|---|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        lfw = faces(args.data, args.store, model)
        for others in OTHERS:
            found = [outcomes(split(lfw, seed, others), known) for seed in range(args.splits)]
            for threshold in found[0]:
                rows = [one[threshold] for one in found]
                mean = {key: np.mean([getattr(row, key) for row in rows]) for key in vars(rows[0])}
                people = [row.found for row in rows]
                cells = (
                    *(name, f"{others + SHARED:,}", threshold, f"{mean['cosine']:.3f}"),
                    *(f"{mean['found']:.1f} ({min(people)} to {max(people)})", f"{mean['false']:.1f}"),
                    *(f"{mean['expected']:.1f}", f"{mean['errors']:.1f}"),
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    copies(args.data, args.store)


if __name__ == "__main__":
    main()
