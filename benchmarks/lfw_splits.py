"""Real faces, a known leak: LFW people split at random into training and control, StyleGAN2 faces as synthetic.

    python benchmarks/lfw_splits.py --data ../shared/data --splits 20 --out docs/figures

By faces alone (--channels face). StyleGAN2 was trained on FFHQ, so its faces leak nobody in LFW. In each split changed
copies of 5% of the training people are mixed in, every kind and strength that an audit plants itself
(src/unveil/planted/changes.py) in turn, and once none and once three. Written are lfw_splits.csv, a line a split,
network and number of planted people, and lfw_changes.csv, a line a network, kind and strength: how many of the planted
people were listed, and how many the audits' own planted leaks said would be. Pictures are embedded once; the splits are
made of vectors.
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

NETWORKS: dict[str, list[str | None]] = {
    "dlib_resnet_v1": [None],
    "w600k_mbf": ["models/w600k_mbf/w600k_mbf_dequant_fp32.onnx"],
    "mobilefacenet": ["models/mobilefacenet/mobilefacenet_foamliu.onnx"],
    "w600k_mbf + mobilefacenet": [
        "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx",
        "models/mobilefacenet/mobilefacenet_foamliu.onnx",
    ],
}
LISTS = ("counted", "modelled", "either", "identities")
SPLIT_COLUMNS = [
    *("split", "network", "planted", "verdict", "global_p", "exposed_at_least"),
    *(f"{name}_{side}" for name in LISTS for side in ("true", "false")),
    *("auc", "tpr_at_fpr_0.01", "cosine_auc", "cosine_tpr_at_fpr_0.01", "seconds"),
]
NEW_PICTURE = ("identity match", "another photograph")
CHANGE_COLUMNS = ["network", "kind", "strength", "planted", "listed", "foreseen", "foreseen_of"]


class Memory(Source):
    """Pictures as bytes in memory."""

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
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        (args.out / "lfw_splits.csv").open("w", newline="") as splits_file,
        (args.out / "lfw_changes.csv").open("w", newline="") as changes_file,
    ):
        splits, changes = (csv.writer(f, lineterminator="\n") for f in (splits_file, changes_file))
        splits.writerow(SPLIT_COLUMNS)
        changes.writerow(CHANGE_COLUMNS)
        for network in args.networks:
            bench = Bench(args.data, network, Path(work))
            for split in range(args.splits):
                for n_planted in (round(0.05 * bench.n_training), 0, 3):
                    splits.writerow([split, network, *bench.run(split, n_planted)])
                    splits_file.flush()
            changes.writerows([network, *row] for row in bench.changes())
            changes_file.flush()


class Bench:
    """One network on LFW and the StyleGAN2 faces."""

    def __init__(self, data: Path, network: str, work: Path) -> None:
        self.lfw = open_source(data / "lfw/lfw_aligned112.zip")
        self.faces = open_source(data / "stylegan2/hardfake_stylegan2_300px.zip")
        folder = work / network.replace(" ", "")
        paths = [None if path is None else data / path for path in NETWORKS[network]]
        self.values: dict[str, Any] = {
            **{"synthetic": "synthetic", "training": "training", "control": "control", "out": folder},
            **{"store": work / "store", "model": [p for p in paths if p is not None], "channels": "face"},
        }
        settings = settings_from(self.values)
        self.run_directory = RunDirectory(folder, settings.facts())
        sources: dict[Role, Source] = {"synthetic": self.faces, "training": self.lfw}
        self.networks = AuditEmbedder(
            channel_config(settings), sources, store=settings.store_place, workers=settings.workers
        )
        embedded = self.networks.embed_roles(
            sources, self.run_directory, settings.random("networks"), aligned=settings.aligned
        )
        # The planted copies are crops of 112 pixels like those of LFW; the StyleGAN2 faces have 300.
        self.preprocessor = ImagePreprocessor([], embedded["training"].alignment, open_detector(None))
        self.real, self.synthetic = embedded["training"].embedded, embedded["synthetic"].embedded
        self.names, self.codes = person_codes(self.real.people_or_ids)
        self.n_training = len(self.names) // 2
        self.planted: Counter[int] = Counter()
        self.significant: Counter[int] = Counter()
        self.foreseen: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
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
        # Each split begins at another change, so that all come about equally often.
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
            "counted": [p.person for p in found.people if "conformal" in p.significant_by],
            "modelled": [p.person for p in found.people if "GPD tail" in p.significant_by],
            "either": [p.person for p in found.significant_people],
            # An identity is right when the picture it points to is of a planted person.
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
            *(f"{v:.3f}" for m in (corrected, cosine) for v in (m.auc.value, m.tpr_at_fpr["0.01"].value)),
            f"{time.perf_counter() - started:.1f}",
        ]
        print(split, *row, flush=True)
        return row

    def _plant(self, split: int, how: dict[int, int]) -> tuple[Source, Embedded]:
        """The StyleGAN2 faces with a changed copy of a random picture of each leaked person."""
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
        embed = self.networks.temporary_embedder(self.run_directory)
        planted = embed(memory, f"leaks{split}", ImageAlignment(None, "crops"))
        return Joined(self.faces, memory), joined(self.synthetic, planted.embedded)

    def _tally(self, found: Findings, images: dict[Role, ImageReader], how: dict[int, int], settings: Settings) -> None:
        """What became of each planted change, and what the audit foresaw of it."""
        significant = {p.person for p in found.significant_people}
        for person, k in how.items():
            name = self.names[person]
            self.planted[k] += 1
            self.significant[k] += name in significant
        power = measure_power(
            *(found, images, self.networks.temporary_embedder(self.run_directory), settings.random),
            planted_leaks=settings.planted_leaks,
            fdr=settings.fdr,
            seed=settings.seed,
        )
        for recall in power.recalls if power is not None else ():
            counts = self.foreseen[recall.kind, recall.strength]
            counts[0] += round(recall.one_leak.value * recall.one_leak.n)
            counts[1] += recall.one_leak.n

    def changes(self) -> list[list[object]]:
        """The lines of lfw_changes.csv."""
        rows: list[list[object]] = [
            [one.kind, one.strength, self.planted[k], self.significant[k], *self.foreseen[one.kind, one.strength]]
            for k, one in enumerate(PERTURBATIONS)
        ]
        rows.append([*NEW_PICTURE, 0, 0, *self.foreseen[NEW_PICTURE]])
        return rows


if __name__ == "__main__":
    main()
