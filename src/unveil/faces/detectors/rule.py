"""Which face a picture is of. One rule, whatever the detector; docs/how-to/prepare-data.md states it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unveil.faces.align import ImageArray
from unveil.faces.detectors.base import DetectedFace, Detector, Face


@dataclass(frozen=True)
class FaceChoice:
    """The face that a picture is of, and how many were seen."""

    face: Face
    n_faces: int


def find_face(image: ImageArray, detector: Detector) -> FaceChoice | None:
    """The face that a picture (H, W, 3) is of, or None.

    Among several, the one with the largest area less twice the squared distance of its centre from the picture's
    centre (InsightFace's rule). A picture without a find is looked at again with a border around it, and then at twice
    the size.
    """
    seen = _detect(image, detector, 1)
    if not seen:
        border = max(image.shape[:2]) // 4
        seen = [one.moved(1, 1, border) for one in _detect(with_border(image, border), detector, 1)]
    if not seen and max(image.shape[:2]) * 2 <= detector.max_side:
        seen = _detect(image, detector, 2)
    if not seen:
        return None
    height, width = image.shape[:2]

    def weight(one: DetectedFace) -> float:
        left, top, right, bottom = one.box
        off = ((left + right - width) / 2) ** 2 + ((top + bottom - height) / 2) ** 2
        return float((right - left) * (bottom - top) - 2 * off)

    return FaceChoice(detector.face(image, max(seen, key=weight)), len(seen))


def with_border(image: ImageArray, width: int) -> ImageArray:
    """The picture with its edge pixels repeated outwards: detectors miss faces that fill a picture."""
    return np.pad(image, ((width, width), (width, width), (0, 0)), mode="edge")


def _detect(image: ImageArray, detector: Detector, times: int) -> list[DetectedFace]:
    """What is seen when the picture is brought to a size that suits the detector, and then ``times`` that."""
    height, width = image.shape[:2]
    longest = max(height, width)
    smallest, largest = detector.min_side, detector.max_side
    scale = times * (smallest / longest if longest < smallest else min(1.0, largest / longest))
    if scale == 1:
        return detector.detect(image)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Reducing by much with two neighbours would leave most pixels unseen.
    how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    return [one.moved(width / size[0], height / size[1]) for one in detector.detect(resized)]
