"""The tables of docs/figures/lfw.md from the lines of lfw_splits.py.

python benchmarks/summarise_lfw.py docs/figures
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

LISTS = {"conformal": "conformal", "gpd": "GPD tail", "significant": "either", "identities": "identities"}
CHANNELS = {"default": "face and appearance", "face": "face alone"}
FDR = 0.05
Line = dict[str, str]


def main() -> None:
    folder = Path(sys.argv[1])
    splits, perturbations = (
        list(csv.DictReader((folder / name).read_text().splitlines()))
        for name in ("lfw_splits.csv", "lfw_perturbations.csv")
    )
    models = ", ".join(dict.fromkeys(r["model"] for r in splits))
    print(
        "# LFW split in two, with known leaks\n\nMade by `make bench-lfw` from lfw_splits.csv and "
        f"lfw_perturbations.csv. Models: {models}. Face and appearance are the default channels; face alone is "
        "`--channels face` on the same splits, planted images and vectors.\n"
    )
    summarise_splits(splits)
    compare_channels(splits)
    summarise_scores(splits)
    summarise_perturbations(perturbations)


def by_row(rows: list[Line]) -> dict[tuple[str, str, str], list[Line]]:
    """The lines of each model, number of planted people and choice of channels, by split."""
    found: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for r in sorted(rows, key=lambda r: (r["model"], -int(r["planted"]), r["channels"], int(r["split"]))):
        found[r["model"], r["planted"], r["channels"]].append(r)
    return found


def summarise_splits(rows: list[Line]) -> None:
    """Found and falsely found, over the splits."""
    print("## Found and falsely found, by model, number of planted people and channels\n")
    print(
        f"False discovery proportion: mean over the splits with its standard error, at q {FDR}; found: median and "
        "range.\n"
    )
    print(
        "| model | planted | channels | splits | `leak found` | median lower limit of exposed people | "
        + " | ".join(f"{name}: found | false" for name in LISTS.values())
        + " |"
    )
    print("|---|---|---|---|---|---|" + "---|---|" * len(LISTS))
    for (model, planted, channels), lines in by_row(rows).items():
        cells = [cell for name in LISTS for cell in (_span(lines, f"{name}_true"), _false(lines, name))]
        leaks = sum(r["verdict"] == "leak found" for r in lines)
        least = statistics.median(int(r["exposed_at_least"]) for r in lines)
        print(
            f"| {model} | {planted} | {CHANNELS[channels]} | {len(lines)} | {leaks} | {least:g} | "
            + " | ".join(cells)
            + " |"
        )


def compare_channels(rows: list[Line]) -> None:
    """True findings by both choices of channels, split by split."""
    print("\n## True findings: the default channels against face alone\n")
    print(
        "Mean over the splits; the difference within splits has its standard error. Fewer, more: splits in which the "
        "default channels find fewer or more planted people.\n"
    )
    print("| model | planted | list | face and appearance | face alone | difference | fewer | more |")
    print("|---|---|---|---|---|---|---|---|")
    groups = by_row(rows)
    for model, planted in dict.fromkeys((model, planted) for model, planted, _ in groups):
        if planted == "0":
            continue
        for name, title in LISTS.items():
            both, face = (
                {r["split"]: int(r[f"{name}_true"]) for r in groups[model, planted, channels]} for channels in CHANNELS
            )
            gains = [both[split] - face[split] for split in both]
            error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
            print(
                f"| {model} | {planted} | {title} | {statistics.mean(both.values()):.2f} | "
                f"{statistics.mean(face.values()):.2f} | {statistics.mean(gains):+.2f} ({error:.2f}) | "
                f"{sum(g < 0 for g in gains)} | {sum(g > 0 for g in gains)} |"
            )


def summarise_scores(rows: list[Line]) -> None:
    """How well the score separates training from control people."""
    print(
        "\n## Scores: all training against all control people\n\n"
        "| model | planted | channels | AUC: score, cosine | TPR at 1% FPR: score, cosine |\n|---|---|---|---|---|"
    )
    for (model, planted, channels), lines in by_row(rows).items():
        auc, tpr = (
            ", ".join(f"{statistics.mean(float(r[name]) for r in lines):.3f}" for name in names)
            for names in (("auc", "cosine_auc"), ("tpr_at_fpr_0.01", "cosine_tpr_at_fpr_0.01"))
        )
        print(f"| {model} | {planted} | {CHANNELS[channels]} | {auc} | {tpr} |")


def _span(rows: list[Line], name: str) -> str:
    found = [int(r[name]) for r in rows]
    if max(found) == 0:
        return "0"
    return f"{statistics.median(found):g} ({min(found)} to {max(found)})"


def _false(rows: list[Line], name: str) -> str:
    """The mean false discovery proportion of a list, with its standard error."""
    parts = [int(r[f"{name}_false"]) / max(1, int(r[f"{name}_true"]) + int(r[f"{name}_false"])) for r in rows]
    error = statistics.stdev(parts) / len(parts) ** 0.5 if len(parts) > 1 else 0.0
    return f"{statistics.mean(parts):.3f} ({error:.3f})"


def summarise_perturbations(rows: list[Line]) -> None:
    """Each kind and strength: what was detected, and what planted leaks predicted."""
    counts: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * 4))
    columns: dict[tuple[str, str], None] = {}
    for r in rows:
        columns[r["model"], r["channels"]] = None
        sums = counts[r["kind"], r["strength"]][r["model"], r["channels"]]
        for i, name in enumerate(("significant", "planted", "predicted", "predicted_of")):
            sums[i] += int(r[name])
    predicted = {c for c in columns if any(of[c][3] for of in counts.values())}
    print("\n## By change: share of planted people detected\n")
    if predicted:
        print("Predicted: the share that the audits of the first splits expected from leaks they planted themselves.\n")
    heads = [
        head
        for c in columns
        for head in (f"{c[0]}, {CHANNELS[c[1]]}: detected", *(["predicted"] if c in predicted else []))
    ]
    print("| change | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    for (kind, strength), of in counts.items():
        cells = [
            cell for c in columns for cell in (_share(*of[c][:2]), *([_share(*of[c][2:])] if c in predicted else []))
        ]
        if any(cells):
            print(f"| {kind}, {strength} | " + " | ".join(cells) + " |")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f} ({whole})" if whole else ""


if __name__ == "__main__":
    main()
