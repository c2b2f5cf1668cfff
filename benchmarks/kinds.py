"""Which kind of leak a changed picture is told to be, on real faces.

    python benchmarks/kinds.py --data ../shared/data > docs/figures/kinds.md

One image each of 300 people of LFW, changed in every way of src/unveil/planting/perturbations.py, against the original;
two different images of one person; images of two people. Thresholds are calibrated on pairs of other people.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from unveil.analysis.leak_kinds import classify_pairs
from unveil.channels import open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.columns import Labels, Texts
from unveil.config.parsing import settings_from
from unveil.embedding.images import ImageReader
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.images import Source, decode_rgb, open_source
from unveil.planting import PERTURBATIONS, PlantedImage, PlantedSource
from unveil.progress import Silent
from unveil.results import PairFinding
from unveil.types import Embedded, ImageRecord

PEOPLE = 300
KINDS = ("near-identical copy", "similar image", "identity match")


def embedded(records: list[ImageRecord]) -> Embedded:
    """The records as if embedded: kinds need no vectors."""
    ids, people = Texts([r.id for r in records]), Labels.of(r.person for r in records)
    return Embedded(ids, people, ids, np.zeros((len(ids), 1), np.float32), "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    source = open_source(parser.parse_args().data / "lfw/lfw_aligned112.zip")
    by_person: dict[str, list[ImageRecord]] = {}
    for record in source.records:
        by_person.setdefault(str(record.person), []).append(record)
    several = [p for p in by_person if len(by_person[p]) > 1]
    people = [str(p) for p in np.random.default_rng(0).permutation(several)]
    tested, others = people[:PEOPLE], people[PEOPLE:]
    faces = [decode_rgb(source.read(by_person[p][0])) for p in tested]
    plants = [PlantedImage(p, face, 0, faces[i - 1]) for i, (p, face) in enumerate(zip(tested, faces, strict=True))]
    planted = PlantedSource(plants, PERTURBATIONS, [0])

    aligned = ImagePreprocessor([], ImageAlignment(None, "crops"), open_detector(None))
    calibrating = [r for p in others for r in by_person[p]]
    # Lines come from the people who are not tested, pairs from those who are.
    training = ImageReader(source, embedded(calibrating), aligned)

    def told(pairs: list[tuple[str, str]], first: Source) -> Counter[str]:
        findings = [PairFinding(i, a, b, "", 0.0, 0.0, "face") for i, (a, b) in enumerate(pairs)]
        given = ImageReader(first, embedded(list(first.records)), aligned)
        kinds = classify_pairs(findings, given, training, None, Silent(), settings.random("kinds"))
        if not told_lines:
            told_lines.append(f"{kinds.thresholds}")
        return Counter(f.kind.kind for f in kinds.mark(findings) if f.kind is not None)

    told_lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        names = ("synthetic", "training", "out")
        settings = settings_from({name: Path(folder) / name for name in names})
        rows: dict[str, Counter[str]] = {}
        for k, how in enumerate(PERTURBATIONS):
            pairs = [(f"{i:06d}/{k:03d}", by_person[p][0].id) for i, p in enumerate(tested)]
            rows[f"{how.kind}, {how.strength}"] = told(pairs, planted)
        first, second = ([by_person[p][n].id for p in tested] for n in (0, 1))
        rows["another image of the person"] = told(list(zip(first, second, strict=True)), source)
        rows["an image of another person"] = told(list(zip(first, second[1:] + second[:1], strict=True)), source)
    print(
        "# Kinds of leak on LFW\n\n"
        f"Made by `benchmarks/kinds.py`: {PEOPLE} people; the share classified as each kind.\n"
    )
    print(f"Thresholds: {told_lines[0]}\n")
    print("| pair | " + " | ".join(KINDS) + " |\n|---|" + "---|" * len(KINDS))
    for name, counts in rows.items():
        n = sum(counts.values())
        print(f"| {name} | " + " | ".join(f"{counts[kind] / n:.2f}" for kind in KINDS) + " |")


if __name__ == "__main__":
    main()
