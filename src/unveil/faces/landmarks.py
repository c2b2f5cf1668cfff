"""Finding a face and its five landmarks with dlib (detector and 5-point predictor, both public domain)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from unveil.faces.align import DLIB_BOX_IN_TEMPLATE, TEMPLATE_SIZE, Picture, Points
from unveil.faces.dlib_onnx import package_file

LANDMARKS = "shape_predictor_5_face_landmarks.dat"

# The detector's window is 80 pixels: smaller pictures are enlarged, large ones reduced, before it looks.
SMALLEST_SIDE, LARGEST_SIDE = 240, 960

_local = threading.local()


@dataclass(frozen=True)
class Face:
    """One face in a picture: landmarks (5, 2) in pixels of the picture, and the same as dlib's own object."""

    landmarks: Points
    shape: Any


def _detector() -> Any:
    """dlib's detector keeps a scratch image pyramid, so each thread has its own."""
    import dlib

    if not hasattr(_local, "detector"):
        _local.detector = dlib.get_frontal_face_detector()
    return _local.detector


@cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(package_file(LANDMARKS)))


def _fit(picture: Picture, rectangle: Any) -> Face:
    shape = _predictor()(picture, rectangle)
    return Face(np.array([(p.x, p.y) for p in shape.parts()], np.float64), shape)


def _boxes(picture: Picture, scale: float) -> list[Any]:
    import dlib

    height, width = picture.shape[:2]
    seen = picture
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        seen = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    sx, sy = width / seen.shape[1], height / seen.shape[0]
    return [
        dlib.rectangle(round(r.left() * sx), round(r.top() * sy), round(r.right() * sx), round(r.bottom() * sy))
        for r in _detector()(seen, 0)
    ]


def _scale(picture: Picture) -> float:
    longest = max(picture.shape[:2])
    return float(SMALLEST_SIDE / longest if longest < SMALLEST_SIDE else min(1.0, LARGEST_SIDE / longest))


def with_border(picture: Picture, width: int) -> Picture:
    """The picture with its edge pixels repeated outwards: the detector misses faces that fill a picture."""
    return np.pad(picture, ((width, width), (width, width), (0, 0)), mode="edge")


def find_face(picture: Picture) -> Face | None:
    """The face that a picture is of, or None.

    Among several, the one with the largest area less twice the squared distance of its centre from the picture's
    centre (InsightFace's rule). A picture without a find is looked at again with
    a border around it, and then at twice the size.
    """
    import dlib

    boxes = _boxes(picture, _scale(picture))
    if not boxes:
        border = max(picture.shape[:2]) // 4
        framed = with_border(picture, border)
        shift = dlib.point(-border, -border)
        boxes = [dlib.translate_rect(r, shift) for r in _boxes(framed, _scale(framed))]
    if not boxes and max(picture.shape[:2]) * 2 <= LARGEST_SIDE:
        boxes = _boxes(picture, 2 * _scale(picture))
    if not boxes:
        return None
    height, width = picture.shape[:2]

    def weight(r: Any) -> float:
        centre = r.center()
        return float(r.area() - 2 * ((centre.x - width / 2) ** 2 + (centre.y - height / 2) ** 2))

    return _fit(picture, max(boxes, key=weight))


def face_in_crop(crop: Picture) -> Face:
    """Landmarks of an aligned crop (S, S, 3): re-found inside the box that the template implies, without detection."""
    import dlib

    scale = crop.shape[0] / TEMPLATE_SIZE
    return _fit(crop, dlib.rectangle(*(round(v * scale) for v in DLIB_BOX_IN_TEMPLATE)))
