"""The label link test on the lab's conditional generators, with their true labels and with permuted ones.

    python -m benchmarks.label_link --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/lab \\
        --model ../shared/data/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx

`python -m benchmarks.lab.make --families conditional` makes the sets. The table goes to docs/figures/label_link.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from unveil import embed
from unveil.analysis.label_link import measure_label_link
from unveil.columns import Labels
from unveil.images import open_source
from unveil.report.key_numbers import table
from unveil.report.text import number
from unveil.stats import label_link
from unveil.stats.generators import generator
from unveil.types import Embedded, Role

PERMUTATIONS, FEW_ARRANGEMENTS = 1000, 199


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None)
    args = parser.parse_args()
    rows = [
        measured(folder.parent, args.faces, args.model)
        for folder in sorted(args.sets.glob("conditional/*/*/facts.json"))
    ]
    head = (
        "people",
        "steps",
        "loss",
        "own class first",
        "by chance",
        "p",
        "permuted: p at most .01",
        ".05",
        "uniform, KS p",
    )
    print(table(head, rows))


def measured(folder: Path, faces: Path, model: Path | None) -> list[str]:
    """The row of one set."""
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    source = open_source(faces)
    members = set((folder / "members.txt").read_text("utf-8").split())
    with tempfile.TemporaryDirectory() as work:
        for record in source.records:
            if record.person in members:
                file = Path(work) / record.person / Path(record.id).name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(source.read(record))
        training = embed(work, model=model, aligned="yes").embedded
        synthetic = embed(folder / "synthetic.zip", model=model, aligned="yes").embedded
    found = link(synthetic, training, 0)
    label_link.N_ARRANGEMENTS = FEW_ARRANGEMENTS
    names, rng = sorted({str(p) for p in synthetic.people}), np.random.default_rng(0)
    p = []
    for seed in range(PERMUTATIONS):
        new = dict(zip(names, rng.permutation(names).tolist(), strict=True))
        permuted = replace(synthetic, people=Labels.of(new[str(person)] for person in synthetic.people))
        p.append(link(permuted, training, seed)[0])
    label_link.N_ARRANGEMENTS = 9_999
    first, chance = found[1], 1 / len(names)
    small = [f"{np.mean(np.array(p) <= level):.3f}" for level in (0.01, 0.05)]
    return [
        *(str(facts["people"]), str(facts["steps"]), str(facts["loss"]), f"{first:.0%}", f"{chance:.1%}"),
        *(number(found[0]), *small, number(float(stats.kstest(p, "uniform").pvalue))),
    ]


def link(synthetic: Embedded, training: Embedded, seed: int) -> tuple[float, float]:
    """The p-value by the order of names alone, and the share of classes whose own class is first."""
    labels: dict[Role, list[str]] = {
        "synthetic": [str(p) for p in synthetic.people],
        "training": [str(p) for p in training.people],
    }
    found = measure_label_link(
        synthetic, training, labels, None, lambda purpose: generator(seed, purpose), level=0.01, fdr=0.05
    )
    if found is None or found.p_value is None or found.own_first is None:
        raise ValueError("labels do not correspond")
    return found.p_value, found.own_first.value


if __name__ == "__main__":
    main()
