"""Real faces, a known leak: LFW people split at random into training and control, StyleGAN2 faces as synthetic.

    python benchmarks/lfw_splits.py --data ../shared/data --splits 20 --out docs/figures

By faces alone (--channels face). StyleGAN2 was trained on FFHQ, so its faces leak nobody in LFW. In each split changed
copies of 5% of the training people are mixed in, every kind and strength that an audit plants itself
(src/unveil/planting/perturbations.py) in turn, and once none and once three. It writes two tables:

- lfw_splits.csv: a line for each split, model and number of planted people;
- lfw_perturbations.csv: a line for each model, kind and strength, with the number of planted people who are
  significant, and the number predicted by the audits' own planted leaks.

Images are embedded once; the splits are made of vectors.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.analysis.findings import Findings
from unveil.analysis.power import measure_power
from unveil.auditor import analyse
from unveil.channels import FaceImage, open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.compare import open_backend
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.images import ImageReader
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.images import LabelRule, Source, decode_rgb, open_source
from unveil.io.run_directory import RunDirectory
from unveil.planting import PERTURBATIONS, PlantedImage, perturb
from unveil.progress import Silent
from unveil.stats.hubness import person_codes
from unveil.types import Embedded, ImageRecord, Role

MODELS: dict[str, list[str | None]] = {
    "dlib_resnet_v1": [None],
    "w600k_mbf": ["models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"],
    "mobilefacenet": ["models/mobilefacenet/mobilefacenet_foamliu.onnx"],
    "w600k_mbf + mobilefacenet": [
        "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx",
        "models/mobilefacenet/mobilefacenet_foamliu.onnx",
    ],
}
LISTS = ("conformal", "gpd", "significant", "identities")
SPLIT_COLUMNS = [
    *("split", "model", "planted", "verdict", "global_p", "exposed_at_least"),
    *(f"{name}_{side}" for name in LISTS for side in ("true", "false")),
    *("auc", "tpr_at_fpr_0.01", "cosine_auc", "cosine_tpr_at_fpr_0.01", "seconds"),
]
NEW_IMAGE = ("identity match", "another photograph")
PERTURBATION_COLUMNS = ["model", "kind", "strength", "planted", "significant", "predicted", "predicted_of"]


class Memory(Source):
    """Images as bytes in memory."""

    kind = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(Path("memory"), LabelRule("none"))
        self._files = files
        self.records = [ImageRecord(name, None, name) for name in files]

    def read(self, record: ImageRecord) -> bytes:
        return self._files[record.key]


class Joined(Source):
    """Two sources as one."""

    kind = "joined"

    def __init__(self, first: Source, second: Source) -> None:
        super().__init__(Path("joined"), LabelRule("none"))
        self._owner = {record.id: source for source in (first, second) for record in source.records}
        self.records = [*first.records, *second.records]

    def read(self, record: ImageRecord) -> bytes:
        return self._owner[record.id].read(record)


def joined(a: Embedded, b: Embedded) -> Embedded:
    return replace(
        a,
        ids=a.ids + b.ids,
        people=a.people + b.people,
        digests=a.digests + b.digests,
        vectors=np.concatenate([a.vectors, b.vectors]),
        quality=None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        (args.out / "lfw_splits.csv").open("w", newline="") as splits_file,
        (args.out / "lfw_perturbations.csv").open("w", newline="") as perturbations_file,
    ):
        splits, perturbations = (csv.writer(f, lineterminator="\n") for f in (splits_file, perturbations_file))
        splits.writerow(SPLIT_COLUMNS)
        perturbations.writerow(PERTURBATION_COLUMNS)
        for model in args.models:
            bench = Bench(args.data, model, Path(work))
            for split in range(args.splits):
                for n_planted in (round(0.05 * bench.n_training), 0, 3):
                    splits.writerow([split, model, *bench.run(split, n_planted)])
                    splits_file.flush()
            perturbations.writerows([model, *row] for row in bench.perturbations())
            perturbations_file.flush()


class Bench:
    """One model on LFW and the StyleGAN2 faces."""

    def __init__(self, data: Path, model: str, work: Path) -> None:
        self.lfw = open_source(data / "lfw/lfw_aligned112.zip")
        self.faces = open_source(data / "stylegan2/hardfake_stylegan2_300px.zip")
        folder = work / model.replace(" ", "")
        paths = [None if path is None else data / path for path in MODELS[model]]
        self.values: dict[str, Any] = {
            **{"synthetic": "synthetic", "training": "training", "control": "control", "out": folder},
            **{"store": work / "store", "model": [p for p in paths if p is not None], "channels": "face"},
        }
        settings = settings_from(self.values)
        self.run_directory = RunDirectory(folder, settings.facts())
        sources: dict[Role, Source] = {"synthetic": self.faces, "training": self.lfw}
        self.embedder = AuditEmbedder(
            channel_config(settings), sources, store=settings.store_place, workers=settings.workers
        )
        embedded = self.embedder.embed_roles(
            sources, self.run_directory, settings.random("networks"), aligned=settings.aligned
        )
        # The planted copies are crops of 112 pixels like those of LFW; the StyleGAN2 faces have 300.
        self.preprocessor = ImagePreprocessor([], embedded["training"].alignment, open_detector(None))
        self.real, self.synthetic = embedded["training"].embedded, embedded["synthetic"].embedded
        self.names, self.codes = person_codes(self.real.people_or_ids)
        self.n_training = len(self.names) // 2
        self.planted: Counter[int] = Counter()
        self.significant: Counter[int] = Counter()
        self.predicted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.partners = [
            FaceImage(decode_rgb(self.faces.read(r)), aligned=False).aligned_crop for r in self.faces.records[:100]
        ]

    def run(self, split: int, n_planted: int) -> list[object]:
        """One audit of one split; the columns from ``planted`` on."""
        started = time.perf_counter()
        rng = np.random.default_rng(split)
        people = rng.permutation(len(self.names))
        in_training = np.zeros(len(self.names), np.bool_)
        in_training[people[: self.n_training]] = True
        training = self.real.take(np.flatnonzero(in_training[self.codes]))
        control = self.real.take(np.flatnonzero(~in_training[self.codes]))
        leaked = [int(p) for p in people[:n_planted]]
        # Each split begins at another perturbation, so that all come about equally often.
        how = {person: (i + split * 7) % len(PERTURBATIONS) for i, person in enumerate(leaked)}
        source, synthetic = self._plant(split, how)

        settings = settings_from({**self.values, "seed": split, "resamples": 1})
        backend = open_backend(settings.backend, settings.workers)
        compare = Comparisons(self.run_directory, backend, Silent(), settings.top_k, settings.top_pairs)
        raw = compare.ranked(Comparison("cosine", FIRST_CHANNEL, "training"), synthetic, training)
        found = analyse(settings, synthetic, training, control, raw, [], compare, {})
        if found.calibration is None or found.verdict == "inconclusive":
            raise SystemExit(
                f"split {split} was not calibrated: {[c.message for c in found.checks if c.status == 'fail']}"
            )
        if n_planted > 3:
            images: dict[Role, ImageReader] = {
                "synthetic": ImageReader(source, synthetic, self.preprocessor),
                "control": ImageReader(self.lfw, control, self.preprocessor),
            }
            self._tally(found, images, how, settings)
        names = {self.names[p] for p in leaked}
        significant = {
            "conformal": [p.person for p in found.people if "conformal" in p.significant_by],
            "gpd": [p.person for p in found.people if "GPD tail" in p.significant_by],
            "significant": [p.person for p in found.significant_people],
            # An identity is right when the image it points to is of a planted person.
            "identities": [str(i.training_id).split("/")[0] for i in found.identities if i.significant],
        }
        corrected, cosine = found.calibration.membership
        row: list[object] = [
            n_planted,
            found.verdict,
            f"{found.calibration.global_test.p_value:.3g}",
            int(found.calibration.exposed_people.low),
            *(
                n
                for who in significant.values()
                for n in (sum(p in names for p in who), sum(p not in names for p in who))
            ),
            *(f"{e.value:.3f}" for m in (corrected, cosine) for e in (m.auc, m.tpr_at_fpr["0.01"]) if e is not None),
            f"{time.perf_counter() - started:.1f}",
        ]
        print(split, *row, flush=True)
        return row

    def _plant(self, split: int, how: dict[int, int]) -> tuple[Source, Embedded]:
        """The StyleGAN2 faces with a changed copy of a random image of each leaked person."""
        if not how:
            return self.faces, self.synthetic
        rng = np.random.default_rng([split, 1])
        files = {}
        records = {r.id: r for r in self.lfw.records}
        for person, k in how.items():
            own = rng.choice(np.flatnonzero(self.codes == person))
            image = decode_rgb(self.lfw.read(records[self.real.ids[own]]))
            plant = PlantedImage(self.names[person], image, 0, self.partners[rng.integers(len(self.partners))])
            changed = perturb(image, PERTURBATIONS[k], plant.face, plant.partner, rng)
            files[f"planted/{person}.png"] = cv2.imencode(".png", changed[..., ::-1])[1].tobytes()
        memory = Memory(files)
        embed = self.embedder.temporary_embedder(self.run_directory)
        planted = embed(memory, f"leaks{split}", ImageAlignment(None, "crops"))
        return Joined(self.faces, memory), joined(self.synthetic, planted.embedded)

    def _tally(self, found: Findings, images: dict[Role, ImageReader], how: dict[int, int], settings: Settings) -> None:
        """Counts the planted people who are significant, and what the audit predicts of each perturbation."""
        significant = {p.person for p in found.significant_people}
        for person, k in how.items():
            name = self.names[person]
            self.planted[k] += 1
            self.significant[k] += name in significant
        power = measure_power(
            *(found, images, self.embedder.temporary_embedder(self.run_directory), settings.random),
            planted_leaks=settings.planted_leaks,
            fdr=settings.fdr,
            seed=settings.seed,
        )
        for recall in power.recalls if power is not None else ():
            counts = self.predicted[recall.kind, recall.strength]
            counts[0] += round(recall.one_leak.value * recall.one_leak.n)
            counts[1] += recall.one_leak.n

    def perturbations(self) -> list[list[object]]:
        """The lines of lfw_perturbations.csv."""
        rows: list[list[object]] = [
            [one.kind, one.strength, self.planted[k], self.significant[k], *self.predicted[one.kind, one.strength]]
            for k, one in enumerate(PERTURBATIONS)
        ]
        rows.append([*NEW_IMAGE, 0, 0, *self.predicted[NEW_IMAGE]])
        return rows


if __name__ == "__main__":
    main()
