"""Chooses the face of an image: one rule for every detector, stated in docs/how-to/prepare-data.md."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unveil.faces.align import ImageArray
from unveil.faces.detectors.base import DetectedFace, Detector, Face
from unveil.io.memory import image_memory


@dataclass(frozen=True)
class FaceChoice:
    """The chosen face of an image, and the number of detected faces."""

    face: Face
    n_faces: int


# Pixels of an image with its border: that of a square photograph of 26 million pixels, or of one of 3 to 2 with 22.
MAX_BORDERED = 6 * 10**7


def find_face(image: ImageArray, detector: Detector) -> FaceChoice | None:
    """The face of an image (H, W, 3) uint8 RGB, or None if no face is detected.

    If several faces are detected, the one with the largest area minus twice the squared distance of its centre from
    the image centre (InsightFace's rule). If none is detected, detection is retried with a border and at twice the
    size.
    """
    detected = _detect(image, detector, 1)
    if not detected:
        detected = _detect_with_border(image, detector)
    if not detected and max(image.shape[:2]) * 2 <= detector.max_side:
        detected = _detect(image, detector, 2)
    if not detected:
        return None
    height, width = image.shape[:2]

    def weight(face: DetectedFace) -> float:
        left, top, right, bottom = face.box
        distance = ((left + right - width) / 2) ** 2 + ((top + bottom - height) / 2) ** 2
        return float((right - left) * (bottom - top) - 2 * distance)

    return FaceChoice(detector.face(image, max(detected, key=weight)), len(detected))


def _detect_with_border(image: ImageArray, detector: Detector) -> list[DetectedFace]:
    """The faces in an image with a border of a quarter of its longer side.

    An image that would be too large with it is reduced first: a border of one pixel's height may take gigabytes.
    """
    height, width = image.shape[:2]
    border = max(height, width) // 4
    pixels = (height + 2 * border) * (width + 2 * border)
    reduced = 0
    if pixels > MAX_BORDERED:
        scale = (MAX_BORDERED / pixels) ** 0.5
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        border, reduced = max(size) // 4, image.nbytes
    reduced_height, reduced_width = image.shape[:2]
    bordered = 3 * (reduced_height + 2 * border) * (reduced_width + 2 * border)
    with image_memory(3 * height * width + reduced + bordered):
        detected = [face.rescaled(1, 1, border) for face in _detect(with_border(image, border), detector, 1)]
    return [face.rescaled(width / reduced_width, height / reduced_height) for face in detected]


def with_border(image: ImageArray, width: int) -> ImageArray:
    """The image with its edge pixels repeated outwards: detectors miss faces that fill an image."""
    return np.pad(image, ((width, width), (width, width), (0, 0)), mode="edge")


def _detect(image: ImageArray, detector: Detector, enlargement: int) -> list[DetectedFace]:
    """The faces in an image that is resized to suit the detector, and then enlarged by ``enlargement``."""
    height, width = image.shape[:2]
    longer = max(height, width)
    smallest, largest = detector.min_side, detector.max_side
    scale = enlargement * (smallest / longer if longer < smallest else min(1.0, largest / longer))
    if scale == 1:
        return detector.detect(image)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # A strong reduction by bilinear interpolation would ignore most pixels.
    interpolation = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    return [face.rescaled(width / size[0], height / size[1]) for face in detector.detect(resized)]
