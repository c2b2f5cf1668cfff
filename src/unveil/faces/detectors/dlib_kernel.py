"""dlib's landmarks and face crops by the compiled kernel: the same bits, several times as fast, without the GIL.

The kernel repeats dlib's arithmetic operation by operation. Another compiler or processor may round otherwise, so a
process compares both on a few images before it uses the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from unveil import native
from unveil.faces.align import DLIB_BOX_IN_TEMPLATE, TEMPLATE_SIZE, ImageArray, Points
from unveil.faces.detectors.base import Box
from unveil.faces.dlib_onnx import package_file
from unveil.native import FaceKernel, LandmarkModel, NativeImage

LANDMARKS = "shape_predictor_5_face_landmarks.dat"
# Boxes and landmarks further away are left to dlib.
MAX_COORDINATE = 2**30
# Crops on which kernel and dlib are compared, and the size of the model's crop.
N_COMPARED, COMPARED_SIZE = 4, 150


def locate_landmarks(images: Sequence[ImageArray], boxes: Sequence[Box]) -> Points:
    """dlib's five landmarks (N, 5, 2) of a face in each of N images (H, W, 3), in a box: whole numbers in pixels."""
    kernel = _trusted_kernel()
    points = None if kernel is None else kernel.landmarks(images, boxes)
    return landmarks_by_dlib(images, boxes) if points is None else points


def cut_face(image: ImageArray, landmarks: Points, size: int) -> ImageArray:
    """dlib's crop (size, size, 3) of a face with landmarks (5, 2) in an image (H, W, 3), with a padding of 0.25."""
    kernel = _trusted_kernel()
    crop = None if kernel is None else kernel.crop(image, landmarks, size)
    return crop_by_dlib(image, landmarks, size) if crop is None else crop


def landmarks_by_dlib(images: Sequence[ImageArray], boxes: Sequence[Box]) -> Points:
    """`locate_landmarks` by dlib itself."""
    import dlib

    shapes = [
        _predictor()(image, dlib.rectangle(*(round(v) for v in box))) for image, box in zip(images, boxes, strict=True)
    ]
    return np.array([[(p.x, p.y) for p in shape.parts()] for shape in shapes], np.float64).reshape(-1, 5, 2)


def crop_by_dlib(image: ImageArray, landmarks: Points, size: int) -> ImageArray:
    """`cut_face` by dlib itself."""
    import dlib

    points = [dlib.point(round(x), round(y)) for x, y in landmarks]
    shape = dlib.full_object_detection(dlib.rectangle(), points)
    return np.asarray(dlib.get_face_chip(image, shape, size=size, padding=0.25), np.uint8)


class DlibKernel:
    """The compiled kernel with dlib's landmark model. Its methods return None for what is left to dlib."""

    def __init__(self, kernel: FaceKernel, model: LandmarkModel, *, plain: bool = False) -> None:
        self._kernel, self._model, self._plain = kernel, model, plain

    def landmarks(self, images: Sequence[ImageArray], boxes: Sequence[Box]) -> Points | None:
        """As `locate_landmarks`."""
        rounded = [(round(left), round(top), round(right), round(bottom)) for left, top, right, bottom in boxes]
        if any(abs(v) > MAX_COORDINATE for box in rounded for v in box):
            return None
        pixels = [np.ascontiguousarray(image) for image in images]
        points = np.empty((len(images), self._model.parts, 2), np.float64)
        self._kernel.landmarks(self._model, [_native(p) for p in pixels], rounded, points.ctypes.data, self._plain)
        return points

    def crop(self, image: ImageArray, landmarks: Points, size: int) -> ImageArray | None:
        """As `cut_face`."""
        points = np.rint(landmarks)
        if not np.abs(points).max() <= MAX_COORDINATE:
            return None
        pixels = np.ascontiguousarray(image)
        crop = np.empty((size, size, 3), np.uint8)
        done = self._kernel.face_chip(_native(pixels), points.ctypes.data, size, crop.ctypes.data, self._plain)
        return crop if done else None


def open_kernel(*, plain: bool = False) -> DlibKernel | None:
    """The kernel with dlib's landmark model, or None where there is no kernel."""
    kernel = native.load_faces()
    model = None if kernel is None else kernel.read_landmark_model(package_file(LANDMARKS).read_bytes())
    # The crop of dlib's recognition model needs its five landmarks.
    return None if kernel is None or model is None or model.parts != 5 else DlibKernel(kernel, model, plain=plain)


def equals_dlib(kernel: DlibKernel) -> bool:
    """Whether the kernel and dlib give the same landmarks and crops of a few images."""
    # Flat squares: a crop rounds towards zero there, so that the last bit of every coordinate shows.
    flat = np.random.default_rng(0).integers(0, 256, (N_COMPARED, 14, 14, 3), np.uint8)
    images = list(flat.repeat(TEMPLATE_SIZE // 14, axis=1).repeat(TEMPLATE_SIZE // 14, axis=2))
    boxes = [DLIB_BOX_IN_TEMPLATE] * N_COMPARED
    landmarks, expected = kernel.landmarks(images, boxes), landmarks_by_dlib(images, boxes)
    if landmarks is None or not np.array_equal(landmarks, expected):
        return False
    crops = [kernel.crop(image, points, COMPARED_SIZE) for image, points in zip(images, expected, strict=True)]
    return all(
        crop is None or np.array_equal(crop, crop_by_dlib(image, points, COMPARED_SIZE))
        for crop, image, points in zip(crops, images, expected, strict=True)
    )


@cache
def _trusted_kernel() -> DlibKernel | None:
    kernel = open_kernel()
    return kernel if kernel is not None and equals_dlib(kernel) else None


@cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(package_file(LANDMARKS)))


def _native(pixels: ImageArray) -> NativeImage:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"an image should be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    return NativeImage(pixels.ctypes.data, pixels.shape[0], pixels.shape[1], pixels.strides[0])
