"""The verdict without a control set: real people as synthetic images, and generators of known and of other people.

    python -m benchmarks.lab.no_control --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/lab \
        --model ../shared/data/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx --audits 100 > docs/figures/no_control.md

Training people are drawn anew for each audit. In the first table images of real people who are not among them are the
synthetic set: nothing leaks, and the assumption of the statement holds. In the second it is the images of a generator
that learnt other people. In the third the training people are those whom the generator learnt.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.lab.measure import Lab
from unveil.analysis.findings import Findings
from unveil.auditor import analyse
from unveil.columns import Labels
from unveil.stats.intervals import share
from unveil.types import Embedded, Ints

PEOPLE = (200, 600)
STRANGERS = 300  # real people as the synthetic set


def audit(lab: Lab, synthetic: Embedded, rows: Ints) -> Findings:
    """An audit of some real images without a control set."""
    training = lab.real.take(np.sort(rows))
    return analyse(lab.settings, synthetic, training, None, [], lab.compare, {})


def rows_of(lab: Lab, people: Sequence[str], among: Ints) -> Ints:
    """Those of some images that show some people."""
    wanted, everyone = set(people), lab.real.people_or_ids
    return np.array([i for i in among if everyone[i] in wanted], np.int64)


def two_names(faces: Path) -> list[str]:
    """People whose images match those of another name: label errors of LFW, where a finding would not be false."""
    with (faces.parent / "cross_label_matches.csv").open() as file:
        return [id.partition("/")[0] for row in csv.reader(file) for id in row[1:]]


def cells(found: Sequence[Findings]) -> str:
    """The shares of verdicts, people found, and how synthetic scores lie."""
    n = len(found)
    wrong = share(sum(f.verdict.startswith("leak") for f in found), n)
    inconclusive = sum(f.verdict == "inconclusive" for f in found)
    people = np.array([len(f.significant_people) for f in found])
    statements = [f.no_control for f in found if f.no_control is not None]
    below = np.mean([s.below_median.value for s in statements])
    corrected = np.mean([any(shift.correction > 0 for shift in s.shifts) for s in statements])
    return (
        f"{n} | {wrong.value:.3f} ({wrong.low:.3f} to {wrong.high:.3f}) | {inconclusive / n:.3f} | "
        f"{(people > 0).mean():.3f} | {people.mean():.2f} | {below:.2f} | {corrected:.2f}"
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--audits", type=int, default=100, help="of each row")
    args = parser.parse_args()
    columns = ("audits", "leak indicated", "inconclusive", "anybody significant", "people significant, mean")
    head = "| " + " | ".join((*columns, "below the median", "corrected")) + " |\n|" + "---|" * 9
    folders = sorted(path.parent for path in args.sets.glob("*/*/*/facts.json"))
    model = "the default model" if args.model is None else args.model.stem
    print(f"# Without a control set: LFW and generators, {model}\n")
    print("False discovery rate .05, level of the crowd test .01. In brackets the 95% interval (Clopper-Pearson).\n")
    with tempfile.TemporaryDirectory() as work:
        labs = [Lab(folder, args.faces, args.model, Path(work), args.sets / "store") for folder in folders]
        print("## Nothing leaks: synthetic images are real images of other people\n")
        print(f"| synthetic set | training people {head}")
        everyone = np.arange(len(labs[0].real))
        names = np.setdiff1d(labs[0].real.people_or_ids, two_names(args.faces))
        for labelled in (False, True):
            for n in PEOPLE:
                found = []
                for seed in range(args.audits):
                    order = np.random.default_rng([seed, n]).permutation(names)
                    training = rows_of(labs[0], order[:n].tolist(), everyone)
                    rows = rows_of(labs[0], order[n : n + STRANGERS].tolist(), everyone)
                    synthetic = labs[0].real.take(rows)
                    if not labelled:
                        synthetic = replace(synthetic, people=Labels.missing(len(rows)))
                    found.append(audit(labs[0], synthetic, training))
                kind = "identities" if labelled else "images without labels"
                print(f"| {kind} of {STRANGERS} people | {n} | {cells(found)} |", flush=True)
        print("\n## Nothing leaks: a generator that learnt other people\n")
        print(f"| generator | training people {head}")
        for lab in labs:
            for n in PEOPLE:
                found = []
                for seed in range(args.audits):
                    held_out = np.setdiff1d([lab.real.people_or_ids[i] for i in lab.held_out], two_names(args.faces))
                    order = np.random.default_rng([seed, n]).permutation(held_out)
                    found.append(audit(lab, lab.synthetic, rows_of(lab, order[:n].tolist(), lab.held_out)))
                print(f"| {lab.key[0]}, {lab.key[1]} people, {lab.key[2]} steps | {n} | {cells(found)} |", flush=True)
        print("\n## The training people are those whom the generator learnt\n")
        print(
            "| generator | verdict | evidence | people significant | synthetic images significant | crowd test p "
            "| below the median |\n|---|---|---|---|---|---|---|"
        )
        for lab in labs:
            f = audit(lab, lab.synthetic, lab.learnt)
            statement = f.no_control
            crowd, below = (
                ("", "") if statement is None else (statement.crowd_test.p_value, statement.below_median.value)
            )
            print(
                f"| {lab.key[0]}, {lab.key[1]} people, {lab.key[2]} steps | {f.verdict} | {', '.join(f.evidence)} | "
                f"{len(f.significant_people)} | {sum(i.significant for i in f.identities)} of {len(f.identities)} | "
                f"{crowd:.2g} | {below:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
