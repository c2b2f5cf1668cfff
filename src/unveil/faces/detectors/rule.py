"""Which face a picture is of. One rule, whatever the detector; docs/guide.md states it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unveil.faces.align import Picture
from unveil.faces.detectors.base import Detector, Face, Seen


@dataclass(frozen=True)
class Found:
    """The face that a picture is of, and how many were seen."""

    face: Face
    n_faces: int


def find_face(picture: Picture, detector: Detector) -> Found | None:
    """The face that a picture (H, W, 3) is of, or None.

    Among several, the one with the largest area less twice the squared distance of its centre from the picture's
    centre (InsightFace's rule). A picture without a find is looked at again with a border around it, and then at twice
    the size.
    """
    seen = _look(picture, detector, 1)
    if not seen:
        border = max(picture.shape[:2]) // 4
        seen = [one.moved(1, 1, border) for one in _look(with_border(picture, border), detector, 1)]
    if not seen and max(picture.shape[:2]) * 2 <= detector.largest_side:
        seen = _look(picture, detector, 2)
    if not seen:
        return None
    height, width = picture.shape[:2]

    def weight(one: Seen) -> float:
        left, top, right, bottom = one.box
        off = ((left + right - width) / 2) ** 2 + ((top + bottom - height) / 2) ** 2
        return float((right - left) * (bottom - top) - 2 * off)

    return Found(detector.face(picture, max(seen, key=weight)), len(seen))


def with_border(picture: Picture, width: int) -> Picture:
    """The picture with its edge pixels repeated outwards: detectors miss faces that fill a picture."""
    return np.pad(picture, ((width, width), (width, width), (0, 0)), mode="edge")


def _look(picture: Picture, detector: Detector, times: int) -> list[Seen]:
    """What is seen when the picture is brought to a size that suits the detector, and then ``times`` that."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    smallest, largest = detector.smallest_side, detector.largest_side
    scale = times * (smallest / longest if longest < smallest else min(1.0, largest / longest))
    if scale == 1:
        return detector.look(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Reducing by much with two neighbours would leave most pixels unseen.
    how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    return [one.moved(width / size[0], height / size[1]) for one in detector.look(resized)]
