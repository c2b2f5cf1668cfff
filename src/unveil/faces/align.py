"""Face alignment: landmark templates, the least-squares similarity transform, and the warp."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
ImageArray = npt.NDArray[np.uint8]

TEMPLATE_SIZE = 112

# Positions of the eyes, the tip of the nose and the corners of the mouth in a 112-pixel ArcFace crop, the left of the
# image first. Source: deepinsight/insightface, arcface_dst.
ARCFACE_TEMPLATE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)

# Positions of dlib's five landmarks in a 112-pixel ArcFace crop: outer and inner corner of the eye on the right of the
# image, the same on the left, base of the nose. The mean over 548 LFW photographs that were aligned to the ArcFace
# template by eye centres, nose tip and mouth corners (standard deviation 1.4 to 2.6 pixels for each coordinate).
# docs/decisions/0003-landmarks.md compares the two alignments.
DLIB_IN_TEMPLATE: Points = np.array(
    [[80.19, 52.82], [66.41, 53.23], [31.65, 52.99], [45.39, 53.29], [55.96, 79.56]], np.float64
)

# The box of dlib's detector in the same crop (median over the same photographs): left, top, right, bottom.
DLIB_BOX_IN_TEMPLATE = (15.2, 27.6, 100.8, 113.7)


def similarity(points: Points, template: Points) -> Points:
    """The 2 x 3 similarity transform that maps ``points`` (K, 2) onto ``template`` (K, 2) with least squared error.

    Rotation, one scale and translation, no reflection (Umeyama 1991, doi:10.1109/34.88573). In the plane the solution
    is one complex division.
    """
    from_mean, to_mean = points.mean(0), template.mean(0)
    source = (points - from_mean) @ np.array([1, 1j])
    target = (template - to_mean) @ np.array([1, 1j])
    rotation = np.vdot(source, target) / np.vdot(source, source).real
    linear = np.array([[rotation.real, -rotation.imag], [rotation.imag, rotation.real]])
    return np.column_stack([linear, to_mean - linear @ from_mean])


def warp(image: ImageArray, matrix: Points, size: int) -> ImageArray:
    """Warps ``image`` (H, W, 3) by a 2 x 3 ``matrix`` to a crop (size, size, 3): bilinear, zero border."""
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    return np.asarray(crop, np.uint8)


def resize(image: ImageArray, size: int) -> ImageArray:
    """Resizes an image (H, W, 3) to (size, size, 3); returns it unchanged if it has that size."""
    if image.shape[:2] == (size, size):
        return image
    interpolation = cv2.INTER_AREA if max(image.shape[:2]) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=interpolation), np.uint8)
