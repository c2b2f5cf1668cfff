"""Both verdicts on people whom a generator never saw: how often is a leak reported that cannot be there?

    python -m benchmarks.lab.other_people --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/other_people \
        --lines docs/figures/other_people.csv > docs/figures/other_people.md

Small generators are trained on people of LFW, each on others. From all people whom a generator never saw, training
people and as many control people are drawn anew for each audit. Each draw is audited with the control set and without
it. Nothing leaks, so every `leak found` and `leak indicated (no control set)` is false.

The audits of one generator share its images, and their people overlap. So the audits of a generator are taken together:
an interval over generators stands beside the one that treats audits as independent. Near-duplicates are not looked for;
input checks and exact copies are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.lab.families import Setup
from benchmarks.lab.make import make
from benchmarks.lab.measure import Lab
from benchmarks.lab.no_control import audit, rows_of, two_names
from benchmarks.lab.people import load
from unveil.stats.intervals import share

FAMILY, PEOPLE, STEPS = "components", 100, 500  # a generator: its family, the people it learns, its steps
COLUMNS = [
    *("seed", "repeat", "verdict", "evidence", "people", "identities"),
    *("verdict_without", "evidence_without", "people_without", "identities_without"),
]


def sets(faces: Path, out: Path, generators: int, images: int) -> list[Path]:
    """The folder of each generator, by its seed; what is there already is not made again."""
    folders = [out / str(seed) / FAMILY / f"{PEOPLE}-people" / f"{STEPS}-steps" for seed in range(generators)]
    missing = [seed for seed, folder in enumerate(folders) if not (folder / "facts.json").exists()]
    if missing:
        everyone = load(faces, Setup.side)
        for seed in missing:
            with contextlib.redirect_stdout(sys.stderr):
                make(everyone, FAMILY, PEOPLE, (STEPS,), images, Setup(seed=seed), out / str(seed))
    return folders


def audits(lab: Lab, seed: int, n_people: int, n: int, left_out: Sequence[str]) -> Iterator[list[object]]:
    """The columns from ``repeat`` on, for draws of training and control people whom the generator never saw."""
    names = np.setdiff1d([lab.real.people_or_ids[i] for i in lab.held_out], left_out)
    for repeat in range(n):
        order = np.random.default_rng([repeat, seed, 5]).permutation(names)
        training, control = (
            rows_of(lab, people.tolist(), lab.held_out) for people in (order[:n_people], order[n_people : 2 * n_people])
        )
        row: list[object] = [repeat]
        for found in (lab.analyse(training, control), audit(lab, lab.synthetic, training)):
            n_identities = sum(i.significant for i in found.identities)
            row += [found.verdict, "; ".join(found.evidence), len(found.significant_people), n_identities]
        yield row


def false_verdicts(rows: Sequence[dict[str, str]], column: str) -> str:
    """The share of false verdicts, with both intervals, and the share of inconclusive ones."""
    wrong = [row[column].startswith("leak") for row in rows]
    of_each = [
        float(np.mean([w for w, row in zip(wrong, rows, strict=True) if row["seed"] == seed]))
        for seed in sorted({row["seed"] for row in rows})
    ]
    audits, any_wrong = share(sum(wrong), len(wrong)), share(sum(s > 0 for s in of_each), len(of_each))
    error = np.std(of_each, ddof=1) / np.sqrt(len(of_each)) if len(of_each) > 1 else float("nan")
    inconclusive = np.mean([row[column] == "inconclusive" for row in rows])
    return (
        f"{sum(wrong)} of {len(wrong)} | {audits.value:.4f} ({audits.low:.4f} to {audits.high:.4f}) | {error:.4f} | "
        f"{sum(s > 0 for s in of_each)} of {len(of_each)} ({any_wrong.low:.3f} to {any_wrong.high:.3f}) | "
        f"{inconclusive:.3f}"
    )


def main() -> None:
    """Writes the lines and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--generators", type=int, default=10)
    parser.add_argument("--audits", type=int, default=20, help="of each generator and verdict")
    parser.add_argument("--people", type=int, default=300, help="training people, and as many control people")
    parser.add_argument("--images", type=int, default=300, help="of each generator")
    parser.add_argument("--store", type=Path, default=None, help="keep embeddings here instead of in the sets")
    parser.add_argument("--lines", type=Path, required=True, help="a line for each audit")
    args = parser.parse_args()
    folders = sets(args.faces, args.sets, args.generators, args.images)
    left_out = two_names(args.faces)
    rows: list[list[object]] = [list(COLUMNS)]
    with tempfile.TemporaryDirectory() as work:
        for seed, folder in enumerate(folders):
            store = args.store or args.sets / "store"
            # The faces of LFW are found to be aligned; small drawn ones show no landmarks.
            lab = Lab(
                *(folder, args.faces, args.model, Path(work) / str(seed), store), aligned="synthetic=yes", workers=1
            )
            rows += [[seed, *row] for row in audits(lab, seed, args.people, args.audits, left_out)]
            with args.lines.open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
    summarise(args.lines, args.people, args.images, "the default model" if args.model is None else args.model.stem)


def summarise(lines: Path, people: int, images: int, model: str) -> None:
    """Prints the table of the lines."""
    rows = list(csv.DictReader(lines.read_text().splitlines()))
    print(f"# People whom the generator never saw: {model}\n")
    print(
        f"{people} training and {people} control people of LFW whom the generator never saw, {images} images of each "
        "generator, false discovery rate .05, levels of the global and of the crowd test .01. Nothing leaks: every "
        "verdict that names a leak is false. Interval: Clopper-Pearson, 95%, as if audits were independent. Standard "
        "error: over generators, whose audits share images. Generators with a false verdict: with Clopper-Pearson over "
        "generators.\n"
    )
    print(
        "| verdict | false verdicts | share | standard error | generators with a false verdict | inconclusive |\n"
        "|---|---|---|---|---|---|"
    )
    for column, verdict in (("verdict", "with a control set"), ("verdict_without", "without a control set")):
        print(f"| {verdict} | {false_verdicts(rows, column)} |")
    print("\n| verdict | audits with a significant person | people significant, mean |\n|---|---|---|")
    for column, verdict in (("people", "with a control set"), ("people_without", "without a control set")):
        found = np.array([int(row[column]) for row in rows])
        some_found = share(int((found > 0).sum()), len(found))
        print(
            f"| {verdict} | {some_found.value:.4f} ({some_found.low:.4f} to {some_found.high:.4f}) | "
            f"{found.mean():.3f} |"
        )


if __name__ == "__main__":
    main()
