"""What another alignment of the real photographs costs, and what registration wins back.

    python -m benchmarks.lab.alignments --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/lab \
        --model ../shared/data/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx \
        --detectors dlib ../shared/data/models/yunet/face_detection_yunet_2023mar.onnx

Generators are trained on the crops as they are. The real crops are then aligned again by each detector, and every set
is audited against them, with and without registration. A line for each set and alignment: TPR at 1% FPR of the audit's
score and of the appearance channel alone. The last columns are of people whom the generator never saw, in 1,000 random
halves, one half as training people. They say in how many halves anybody is significant at q .05 by counting and by the
GPD tail, and the global test at .01. All halves of a line share their people, so one unusual person counts in many of
them.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.lab.measure import LEARNT, Lab
from unveil.channels import Detector, open_detector
from unveil.embedding import embedder
from unveil.faces.align import TEMPLATE_SIZE, ImageArray, similarity
from unveil.faces.detectors import find_face, with_border
from unveil.images import decode_rgb, open_source
from unveil.io.atomic import replacing
from unveil.stats.person_tests import person_tests
from unveil.types import Estimate, Floats

BORDER = TEMPLATE_SIZE // 4
AS_IS = "as the crops"
COLUMNS = (
    *("family", "people", "steps", "alignment", "registration", "audit", "appearance alone"),
    *("anybody by conformal q", "by the GPD tail", "global test"),
)
HALVES, FDR, GLOBAL_LEVEL = 1000, 0.05, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--detectors", nargs="+", default=["dlib"])
    args = parser.parse_args()
    places = {AS_IS: args.faces}
    for name in args.detectors:
        place = args.sets / "aligned" / f"{Path(name).stem}.zip"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_aligned(args.faces, open_detector(name), place)
        places[Path(name).stem] = place
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for folder in sorted(path.parent for path in args.sets.glob("*/*/*/facts.json")):
        for alignment, place in places.items():
            for registered in (False, True):
                print_row(folder, alignment, place, args.model, args.sets / "store", registered=registered)


def write_aligned(faces: Path, detector: Detector, place: Path) -> None:
    """Writes every crop of a source aligned again by a detector; a crop without a detected face as it is."""
    source = open_source(faces)
    with replacing(place) as file, zipfile.ZipFile(file, "w") as packed:
        for record in source.records:
            crop = _aligned(decode_rgb(source.read(record)), detector)
            packed.writestr(f"{record.id}.png", cv2.imencode(".png", crop[..., ::-1])[1].tobytes())


def _aligned(crop: ImageArray, detector: Detector) -> ImageArray:
    found = find_face(with_border(crop, BORDER), detector)
    if found is None:
        return crop
    matrix = similarity(found.face.landmarks - BORDER, found.face.template)
    # What lies outside of the crop is not known; its edge is repeated.
    moved = cv2.warpAffine(crop, matrix, (TEMPLATE_SIZE, TEMPLATE_SIZE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def print_row(folder: Path, alignment: str, place: Path, model: Path | None, store: Path, *, registered: bool) -> None:
    """Prints the line of one set, alignment and registration."""
    with tempfile.TemporaryDirectory() as work:
        if registered:
            lab = Lab(folder, place, model, Path(work), store)
        else:
            with patch.object(embedder, "fit_registration", return_value=None):
                lab = Lab(folder, place, model, Path(work), store)
        found = lab.found[LEARNT]
    if found.calibration is None or found.exposures is None:
        raise SystemExit(f"{folder}: {[c.message for c in found.checks if c.status == 'fail']}")
    rates = {m.score: _rate(m.tpr_at_fpr["0.01"]) for m in found.calibration.membership}
    false = _false_alarms(found.exposures.control.score)
    cells = [
        *lab.key,
        alignment,
        "yes" if registered else "no",
        rates["all channels"],
        rates["appearance alone"],
        *false,
    ]
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def _rate(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _false_alarms(score: Floats) -> list[str]:
    """Random halves of people whom the generator never saw: nobody's score depends on the half."""
    rng = np.random.default_rng(0)
    alarms = np.zeros(3, np.int64)
    for _ in range(HALVES):
        training, control = np.array_split(score[rng.permutation(len(score))], 2)
        tests = person_tests(training, control)
        rejected = tests.global_test.p_value <= GLOBAL_LEVEL
        alarms += np.array([tests.conformal(FDR).any(), tests.gpd(FDR).any(), rejected], np.int64)
    return [f"{n} of {HALVES}" for n in alarms]


if __name__ == "__main__":
    main()
