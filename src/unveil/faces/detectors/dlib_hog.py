"""dlib's face detector and 5-point landmark predictor. Both come with the installation."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from unveil.faces.align import DLIB_BOX_IN_TEMPLATE, DLIB_IN_TEMPLATE, TEMPLATE_SIZE, ImageArray
from unveil.faces.detectors.base import Box, DetectedFace, Face
from unveil.faces.detectors.dlib_kernel import cut_face, locate_landmarks

_local = threading.local()


class DlibDetector:
    """A histogram-of-gradients detector for upright faces of at least 80 pixels, with landmarks by regression trees."""

    name = "dlib"
    licence = "Boost Software License (detector), public domain (landmarks)"
    key = "dlib"
    runtime = ""
    min_side, max_side = 240, 960

    def detect(self, image: ImageArray) -> list[DetectedFace]:
        return [DetectedFace((r.left(), r.top(), r.right(), r.bottom())) for r in _detector()(image, 0)]

    def face(self, image: ImageArray, detected: DetectedFace) -> Face:
        return fit_landmarks(image, detected.box)


def fit_landmarks(image: ImageArray, box: Box) -> Face:
    """dlib's landmarks of the face in a box like those of dlib's detector."""
    return Face(locate_landmarks([image], [box])[0], DLIB_IN_TEMPLATE)


def faces_in_crops(crops: Sequence[ImageArray]) -> list[Face]:
    """The landmarks of aligned crops (S, S, 3), located in the box of the template without detection."""
    boxes = [_box_in_crop(crop.shape[0]) for crop in crops]
    return [Face(points, DLIB_IN_TEMPLATE) for points in locate_landmarks(crops, boxes)]


def _box_in_crop(side: int) -> Box:
    left, top, right, bottom = (v * side / TEMPLATE_SIZE for v in DLIB_BOX_IN_TEMPLATE)
    return left, top, right, bottom


def dlib_crop(image: ImageArray, face: Face, size: int) -> ImageArray:
    """The crop (size, size, 3) that dlib's recognition model expects, of a face found by any detector."""
    if face.template is not DLIB_IN_TEMPLATE:
        face = _dlib_landmarks(image, face)
    return cut_face(image, face.landmarks, size)


def _dlib_landmarks(image: ImageArray, face: Face) -> Face:
    """dlib's landmarks of a face with other landmarks, located in the box that dlib's detector would return."""
    matrix = face.to_template
    left, top, right, bottom = DLIB_BOX_IN_TEMPLATE
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    x, y = np.linalg.solve(matrix[:, :2], centre - matrix[:, 2])
    half = (right - left + bottom - top) / 4 * face.size / TEMPLATE_SIZE
    return fit_landmarks(image, (x - half, y - half, x + half, y + half))


def _detector() -> Any:
    """dlib's detector of this thread: it holds a scratch image pyramid and cannot be shared."""
    import dlib

    if not hasattr(_local, "detector"):
        _local.detector = dlib.get_frontal_face_detector()
    return _local.detector
