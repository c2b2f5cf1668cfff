"""Real faces, a known leak: LFW people split at random into training and control, StyleGAN2 faces as synthetic.

    python benchmarks/lfw_splits.py --data ../shared/data --splits 10 --work /tmp/lfw --out docs/figures/lfw.csv

StyleGAN2 was trained on FFHQ, so the untouched set leaks nobody in LFW. Then changed pictures of 60, and of 3, training
people are mixed in: re-encoded (JPEG quality 40), blurred (sigma 2 of 112 pixels), or blended with a synthetic face
(70/30). One line a split, network and number of planted people.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import unveil
from unveil.channels import FaceChannel
from unveil.images import Source, decode_rgb, open_source
from unveil.types import ImageRecord

COLUMNS = [
    *("split", "network", "planted", "verdict", "rests_on", "global_p", "counted_true", "counted_false"),
    *("modelled_true", "modelled_false", "auc", "tpr_at_fpr_0.01", "cosine_tpr_at_fpr_0.01", "seconds"),
]
CHANGES = ("re-encoded", "blurred", "blended")
NETWORKS = {
    "dlib_resnet_v1": None,
    "w600k_mbf": "models/w600k_mbf/w600k_mbf_dequant_fp32.onnx",
    "mobilefacenet": "models/mobilefacenet/mobilefacenet_foamliu.onnx",
}


def changed(picture: np.ndarray, how: str, other: np.ndarray) -> np.ndarray:
    """A training picture as a leak would show it."""
    if how == "re-encoded":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=40)
        return decode_rgb(buffer.getvalue())
    if how == "blurred":
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), 2.0), np.uint8)
    return np.round(0.7 * picture + 0.3 * other).astype(np.uint8)


def write_half(source: Source, records: list[ImageRecord], folder: Path) -> None:
    for record in records:
        file = folder / record.id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.read(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--planted", type=int, nargs="*", default=[0, 60, 3])
    parser.add_argument("--networks", nargs="*", default=["dlib_resnet_v1", "w600k_mbf"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lfw = open_source(args.data / "lfw/lfw_aligned112.zip")
    faces = open_source(args.data / "stylegan2/hardfake_stylegan2_300px.zip")
    aligner = FaceChannel(args.data / str(NETWORKS["w600k_mbf"]))
    crops = [aligner.crop(decode_rgb(faces.read(record)), aligned=False) for record in faces.records]
    by_person: dict[str, list[ImageRecord]] = {}
    for record in lfw.records:
        by_person.setdefault(str(record.person), []).append(record)

    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for split in range(args.splits):
            rng = np.random.default_rng(split)
            people = list(rng.permutation(sorted(by_person)))
            half = len(people) // 2
            work = args.work / f"split{split}"
            shutil.rmtree(work, ignore_errors=True)
            for name, chosen in (("training", people[:half]), ("control", people[half:])):
                write_half(lfw, [r for p in chosen for r in by_person[p]], work / name)
            for n_planted in args.planted:
                synthetic = work / f"synthetic{n_planted}"
                write_half(faces, faces.records, synthetic)
                leaked = people[:n_planted]
                for i, person in enumerate(leaked):
                    own = by_person[person]
                    picture = decode_rgb(lfw.read(own[rng.integers(len(own))]))
                    how = CHANGES[i % len(CHANGES)]
                    Image.fromarray(changed(picture, how, crops[rng.integers(len(crops))])).save(
                        synthetic / f"planted_{i:03d}.png"
                    )
                for network in args.networks:
                    weights = NETWORKS[network]
                    started = time.perf_counter()
                    result = unveil.audit(
                        synthetic,
                        work / "training",
                        work / "control",
                        out=work / f"run-{network}-{n_planted}",
                        store=work / "store",
                        model=None if weights is None else args.data / weights,
                    )
                    row = summary(result, set(leaked))
                    table.writerow([split, network, n_planted, *row, f"{time.perf_counter() - started:.1f}"])
                    file.flush()
                    print(split, network, n_planted, *row, flush=True)
            shutil.rmtree(work)


def summary(result: unveil.AuditResult, leaked: set[str]) -> list[object]:
    calibration = result.calibration
    if calibration is None:
        raise SystemExit("the audit was not calibrated")
    listed = {
        basis: {p.person for p in result.people if basis in p.listed_by} for basis in ("counted", "modelled tail")
    }
    corrected, cosine = calibration.membership
    return [
        result.verdict,
        "; ".join(result.rests_on),
        f"{calibration.global_test.p_value:.3g}",
        *(n for people in listed.values() for n in (len(people & leaked), len(people - leaked))),
        f"{corrected.auc.value:.3f}",
        f"{corrected.tpr_at_fpr['0.01'].value:.3f}",
        f"{cosine.tpr_at_fpr['0.01'].value:.3f}",
    ]


if __name__ == "__main__":
    main()
