"""The table of docs/method.md from the lines of lfw_splits.py.

python benchmarks/summarise_lfw.py docs/figures/lfw_splits.csv
"""

from __future__ import annotations

import csv
import statistics
import sys
from itertools import groupby
from pathlib import Path


def main() -> None:
    rows = list(csv.DictReader(Path(sys.argv[1]).read_text().splitlines()))
    rows.sort(key=lambda r: (int(r["planted"]), r["network"]))
    print(
        "| planted | network | splits | verdict `leak found` | largest global p | listed by counting: planted, others "
        "| by the modelled tail: planted, others | TPR at 1% FPR: hub-corrected, raw cosine |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (planted, network), group in groupby(rows, lambda r: (r["planted"], r["network"])):
        splits = list(group)

        def span(name: str, splits: list[dict[str, str]] = splits) -> str:
            values = sorted(int(r[name]) for r in splits)
            middle = f"{statistics.median(values):g}"
            return middle if values[0] == values[-1] else f"{middle} ({values[0]} to {values[-1]})"

        def mean(name: str, splits: list[dict[str, str]] = splits) -> str:
            return f"{statistics.mean(float(r[name]) for r in splits):.3f}"

        found = sum(r["verdict"] == "leak found" for r in splits)
        print(
            f"| {planted} | {network} | {len(splits)} | {found} | {max(float(r['global_p']) for r in splits):.2g} "
            f"| {span('counted_true')}, {span('counted_false')} | {span('modelled_true')}, {span('modelled_false')} "
            f"| {mean('tpr_at_fpr_0.01')}, {mean('cosine_tpr_at_fpr_0.01')} |"
        )


if __name__ == "__main__":
    main()
