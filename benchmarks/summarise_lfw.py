"""The tables of docs/figures/lfw.md from the lines of lfw_splits.py.

python benchmarks/summarise_lfw.py docs/figures
"""

from __future__ import annotations

import csv
import statistics
import sys
from itertools import groupby
from pathlib import Path

LISTS = {"conformal": "conformal", "gpd": "GPD tail", "significant": "either", "identities": "identities"}
Line = dict[str, str]


def main() -> None:
    folder = Path(sys.argv[1])
    splits, perturbations = (
        list(csv.DictReader((folder / name).read_text().splitlines()))
        for name in ("lfw_splits.csv", "lfw_perturbations.csv")
    )
    print(
        "# LFW split in two, with known leaks\n\nMade by `make bench-lfw` from lfw_splits.csv and "
        "lfw_perturbations.csv, with the face channel only (`--channels face`).\n"
    )
    summarise_splits(splits)
    summarise_perturbations(perturbations)


def summarise_splits(rows: list[Line]) -> None:
    """Found and falsely found, over the splits."""
    print("## Found and falsely found, by model and number of planted people\n")
    print(
        "False discovery proportion: mean over the splits with its standard error, at q .05; found: median and range.\n"
    )
    print(
        "| model | planted | splits | `leak found` | median lower limit of exposed people | "
        + " | ".join(f"{name}: found | false" for name in LISTS.values())
        + " |"
    )
    print("|---|---|---|---|---|" + "---|---|" * len(LISTS))
    rows.sort(key=lambda r: (r["model"], -int(r["planted"])))
    for (model, planted), group in groupby(rows, lambda r: (r["model"], r["planted"])):
        lines = list(group)
        cells = [cell for name in LISTS for cell in (_span(lines, f"{name}_true"), _false(lines, name))]
        leaks = sum(r["verdict"] == "leak found" for r in lines)
        least = statistics.median(int(r["exposed_at_least"]) for r in lines)
        print(f"| {model} | {planted} | {len(lines)} | {leaks} | {least:g} | " + " | ".join(cells) + " |")
    print(
        "\n| model | planted | AUC: hub-corrected, cosine | TPR at 1% FPR: hub-corrected, cosine |\n|---|---|---|---|"
    )
    for (model, planted), group in groupby(rows, lambda r: (r["model"], r["planted"])):
        lines = list(group)
        auc, tpr = (
            ", ".join(f"{statistics.mean(float(r[name]) for r in lines):.3f}" for name in names)
            for names in (("auc", "cosine_auc"), ("tpr_at_fpr_0.01", "cosine_tpr_at_fpr_0.01"))
        )
        print(f"| {model} | {planted} | {auc} | {tpr} |")


def _span(rows: list[Line], name: str) -> str:
    values = sorted(int(r[name]) for r in rows)
    middle = f"{statistics.median(values):g}"
    return middle if values[0] == values[-1] else f"{middle} ({values[0]} to {values[-1]})"


def _false(rows: list[Line], name: str) -> str:
    parts = [int(r[f"{name}_false"]) / max(1, int(r[f"{name}_true"]) + int(r[f"{name}_false"])) for r in rows]
    error = statistics.stdev(parts) / len(parts) ** 0.5 if len(parts) > 1 else 0.0
    return f"{statistics.mean(parts):.3f} ({error:.3f})"


def summarise_perturbations(rows: list[Line]) -> None:
    """Each kind and strength: what was detected, and what planted leaks predicted."""
    models = list(dict.fromkeys(r["model"] for r in rows))
    print("\n## By change: share of planted people detected, and share predicted by the planted leaks of the audits\n")
    print("| change | " + " | ".join(f"{n}: detected | predicted" for n in models) + " |")
    print("|---|" + "---|---|" * len(models))
    by_change: dict[tuple[str, str], dict[str, Line]] = {}
    for r in rows:
        by_change.setdefault((r["kind"], r["strength"]), {})[r["model"]] = r
    for (kind, strength), of in by_change.items():
        cells = [
            c
            for n in models
            for c in (_share(of[n], "significant", "planted"), _share(of[n], "predicted", "predicted_of"))
        ]
        print(f"| {kind}, {strength} | " + " | ".join(cells) + " |")


def _share(row: Line, part: str, whole: str) -> str:
    n = int(row[whole])
    return f"{int(row[part]) / n:.2f} ({n})" if n else ""


if __name__ == "__main__":
    main()
