"""Real faces, a known leak: LFW people split at random into training and control, StyleGAN2 faces as synthetic.

    python benchmarks/lfw_splits.py --data ../shared/data --splits 20 --store build/lfw --out docs/figures

By the default channels and by faces alone, on the same vectors. StyleGAN2 was trained on FFHQ, so its faces leak nobody
in LFW. In each split changed copies of 5% of the training people are mixed in, every kind and strength that an audit
plants itself (src/unveil/planting/perturbations.py) in turn but for other alignments, and once none and once three. It
appends to two tables:

- lfw_splits.csv: a line for each split, model, number of planted people and choice of channels;
- lfw_perturbations.csv: a line for each split, model, choice of channels, kind and strength, with the number of planted
  people, of those of them who are significant, and the number predicted by the audit's own planted leaks, which the
  audits of the first splits make (``--predict``).

Splits that the first table has are not audited again. Images are embedded once and stored; the splits are made of
vectors. The appearance channel is whitened by the StyleGAN2 faces without the planted ones. Near-duplicates are looked
for as in an audit; exact copies, input checks and what follows the findings are left out.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unveil.analysis import leak_kinds
from unveil.analysis.comparisons import Comparisons
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
from unveil.types import ROLES, Embedded, ImageRecord, Role

MODELS: dict[str, list[str]] = {
    "dlib_resnet_v1": [],
    "mobilefacenet": ["models/mobilefacenet/mobilefacenet_foamliu.onnx"],
    "w600k_mbf": ["models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"],
}
CHANNELS = {"default": "face and appearance", "face": "face alone"}
PLANTED = "planted/"  # begins the ids of planted images
# A copy in another alignment is measured apart (benchmarks/lab/alignments.py).
CHANGES = tuple(p for p in PERTURBATIONS if p.kind != "realign")
LISTS = ("conformal", "gpd", "significant", "identities")
SPLIT_COLUMNS = [
    *("split", "model", "planted", "channels", "verdict", "global_p", "exposed_at_least"),
    *(f"{name}_{side}" for name in LISTS for side in ("true", "false")),
    *("auc", "tpr_at_fpr_0.01", "cosine_auc", "cosine_tpr_at_fpr_0.01", "seconds"),
]
NEW_IMAGE = ("identity match", "another photograph")
PERTURBATION_COLUMNS = [
    *("split", "model", "channels", "kind", "strength"),
    *("planted", "significant", "predicted", "predicted_of"),
]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--predict", type=int, default=1, help="splits whose audits plant leaks themselves")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--store", type=Path, help="keep embeddings here, so that the next run makes none")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    splits, perturbations = (args.out / name for name in ("lfw_splits.csv", "lfw_perturbations.csv"))
    done = {(r["model"], int(r["split"])) for r in rows_of(splits)}
    describe_once()
    with tempfile.TemporaryDirectory() as work:
        for model in args.models:
            left = [split for split in range(args.splits) if (model, split) not in done]
            if not left:
                continue
            bench = Bench(args.data, model, Path(work), args.store or Path(work) / "store")
            for split in left:
                of_split, of_changes = bench.run(split, predict=split < args.predict)
                append(perturbations, PERTURBATION_COLUMNS, [[split, model, *row] for row in of_changes])
                append(splits, SPLIT_COLUMNS, [[split, model, *row] for row in of_split])


def describe_once() -> None:
    """Keeps what near-duplicates are compared by: the splits share their images, but for the planted ones."""
    describe = leak_kinds._describe
    kept: dict[str, Any] = {}

    def describe_kept(images: ImageReader, id: str, copy_channel: Any) -> Any:
        if id.startswith(PLANTED):
            return describe(images, id, copy_channel)
        if id not in kept:
            kept[id] = describe(images, id, copy_channel)
        return kept[id]

    leak_kinds._describe = describe_kept


def rows_of(table: Path) -> list[dict[str, str]]:
    """The lines of a table; none if there is no such file."""
    return list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []


def append(table: Path, columns: list[str], rows: list[list[object]]) -> None:
    """Adds lines to a table, which begins with the names of its columns."""
    new = not table.exists()
    with table.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows] if new else rows)


class Bench:
    """One model on LFW and the StyleGAN2 faces."""

    def __init__(self, data: Path, model: str, work: Path, store: Path) -> None:
        self.lfw = open_source(data / "lfw/lfw_aligned112.zip")
        self.faces = open_source(data / "stylegan2/hardfake_stylegan2_300px.zip")
        folder = work / model
        self.values: dict[str, Any] = {
            **{"synthetic": "synthetic", "training": "training", "control": "control", "out": folder},
            **{"store": store, "model": [data / path for path in MODELS[model]], "workers": 1, "resamples": 1},
        }
        settings = settings_from(self.values)
        self.run_directory = RunDirectory(folder, settings.facts())
        sources: dict[Role, Source] = {"synthetic": self.faces, "training": self.lfw}
        self.embedder = AuditEmbedder(channel_config(settings), sources, store=settings.store_place, workers=1)
        embedded = self.embedder.embed_roles(
            sources, self.run_directory, settings.random("networks"), aligned=settings.aligned
        )
        # The planted copies are crops of 112 pixels like those of LFW; the StyleGAN2 faces have 300.
        self.preprocessor = ImagePreprocessor([], embedded["training"].alignment, open_detector(None))
        self.real, self.synthetic = embedded["training"].embedded, embedded["synthetic"].embedded
        self.names, self.codes = person_codes(self.real.people_or_ids)
        self.n_training = len(self.names) // 2
        self.partners = [
            FaceImage(decode_rgb(self.faces.read(r)), aligned=False).aligned_crop for r in self.faces.records[:100]
        ]

    def run(self, split: int, *, predict: bool) -> tuple[list[list[object]], list[list[object]]]:
        """The audits of one split: lines of both tables, from the third column on."""
        people = np.random.default_rng(split).permutation(len(self.names))
        in_training = np.zeros(len(self.names), np.bool_)
        in_training[people[: self.n_training]] = True
        training = self.real.take(np.flatnonzero(in_training[self.codes]))
        control = self.real.take(np.flatnonzero(~in_training[self.codes]))
        of_split: list[list[object]] = []
        of_changes: list[list[object]] = []
        for n_planted in (round(0.05 * self.n_training), 0, 3):
            # Each split begins at another perturbation, so that all come about equally often.
            how = {int(person): (i + split * 7) % len(CHANGES) for i, person in enumerate(people[:n_planted])}
            source, synthetic = self._plant(split, how)
            sets: dict[Role, tuple[Source, Embedded]] = {
                **{"synthetic": (source, synthetic), "training": (self.lfw, training)},
                **{"control": (self.lfw, control)},
            }
            for channels in CHANNELS if n_planted else ["default"]:
                started = time.perf_counter()
                found, images, settings = self._audit(split, sets, channels)
                row = self._row(found, {self.names[p] for p in how})
                seconds = time.perf_counter() - started
                of_split.append([n_planted, channels, *row, f"{seconds:.1f}"])
                print(split, *of_split[-1], flush=True)
                if n_planted > 3:
                    power = self._predicted(found, images, settings) if predict and channels == "default" else {}
                    of_changes += [[channels, *line] for line in self._changes(found, how, power)]
        return of_split, of_changes

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
            changed = perturb(image, CHANGES[k], plant.face, plant.partner, rng)
            files[f"{PLANTED}{person}.png"] = cv2.imencode(".png", changed[..., ::-1])[1].tobytes()
        memory = Memory(files)
        embed = self.embedder.temporary_embedder(self.run_directory)
        planted = embed(memory, f"leaks{split}", ImageAlignment(None, "crops"))
        return Joined(self.faces, memory), self.synthetic.joined(planted.embedded)

    def _audit(
        self, split: int, sets: dict[Role, tuple[Source, Embedded]], channels: str
    ) -> tuple[Findings, dict[Role, ImageReader], Settings]:
        """The findings by some channels, the images that were audited, and the settings."""
        settings = settings_from({**self.values, "seed": split})
        images: dict[Role, ImageReader] = {
            role: ImageReader(
                source, embedded if channels == "default" else embedded.through("face"), self.preprocessor
            )
            for role, (source, embedded) in sets.items()
        }
        synthetic, training, control = (images[role].embedded for role in ROLES)
        backend = open_backend(settings.backend, 1)
        compare = Comparisons(self.run_directory, backend, Silent(), settings.top_k, settings.top_pairs)
        found = analyse(settings, synthetic, training, control, [], compare, {}, images=images)
        if found.calibration is None or found.verdict == "inconclusive":
            raise SystemExit(
                f"split {split} was not calibrated: {[c.message for c in found.checks if c.status == 'fail']}"
            )
        return found, images, settings

    def _row(self, found: Findings, names: set[str]) -> list[object]:
        """The columns of lfw_splits.csv from ``verdict`` on, without the last; ``names`` are the planted people."""
        if found.calibration is None:
            raise ValueError("not calibrated")
        significant = {
            "conformal": [p.person for p in found.people if "conformal" in p.significant_by],
            "gpd": [p.person for p in found.people if "GPD tail" in p.significant_by],
            "significant": [p.person for p in found.significant_people],
            # An identity is right when the image it points to is of a planted person.
            "identities": [str(i.training_id).split("/")[0] for i in found.identities if i.significant],
        }
        corrected, cosine = found.calibration.membership[0], found.calibration.membership[-1]
        return [
            found.verdict,
            f"{found.calibration.global_test.p_value:.3g}",
            int(found.calibration.exposed_people.low),
            *(
                n
                for who in significant.values()
                for n in (sum(p in names for p in who), sum(p not in names for p in who))
            ),
            *(f"{e.value:.3f}" for m in (corrected, cosine) for e in (m.auc, m.tpr_at_fpr["0.01"]) if e is not None),
        ]

    def _predicted(
        self, found: Findings, images: dict[Role, ImageReader], settings: Settings
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """What the audit predicts by planting leaks itself: of each kind and strength, significant and planted."""
        power = measure_power(
            *(found, images, self.embedder.temporary_embedder(self.run_directory), settings.random),
            planted_leaks=settings.planted_leaks,
            fdr=settings.fdr,
            seed=settings.seed,
            workers=1,
        )
        recalls = () if power is None else power.recalls
        return {(r.kind, r.strength): (round(r.one_leak.value * r.one_leak.n), r.one_leak.n) for r in recalls}

    def _changes(
        self, found: Findings, how: dict[int, int], predicted: dict[tuple[str, str], tuple[int, int]]
    ) -> Iterator[list[object]]:
        """The columns of lfw_perturbations.csv from ``kind`` on."""
        significant = {p.person for p in found.significant_people}
        planted = Counter(how.values())
        detected = Counter(k for person, k in how.items() if self.names[person] in significant)
        for k, one in enumerate(CHANGES):
            yield [one.kind, one.strength, planted[k], detected[k], *predicted.get((one.kind, one.strength), (0, 0))]
        yield [*NEW_IMAGE, 0, 0, *predicted.get(NEW_IMAGE, (0, 0))]


if __name__ == "__main__":
    main()
