"""Image quality: properties of an image that do not depend on who is in it."""

from __future__ import annotations

import cv2
import numpy as np

from unveil.channels.face_image import FaceImage
from unveil.faces.align import TEMPLATE_SIZE

QUALITY_FEATURES = ("sharpness", "brightness", "contrast", "colour", "image size")


def quality_features(image: FaceImage) -> tuple[float, ...]:
    """The `QUALITY_FEATURES` of an image and its aligned face, rounded to six digits.

    Measured on the middle of the aligned crop, because its corners are black where they lie outside the image.
    sharpness: log10 of the variance of the Laplacian; brightness and contrast: mean and standard deviation of grey, 0
    to 255; colour: mean distance from grey; image size: log2 of the shorter side in pixels.
    Raises ImageError if no face is detected.
    """
    edge = TEMPLATE_SIZE // 4
    crop = np.ascontiguousarray(image.aligned_crop[edge:-edge, edge:-edge])
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(v[0, 0]) for v in cv2.meanStdDev(grey))
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0])
    colour = cv2.norm(crop, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), cv2.NORM_L1) / crop.size
    values = (np.log10(edges**2 + 1), mean, deviation, colour, np.log2(min(image.size)))
    return tuple(float(f"{v:.6g}") for v in values)
