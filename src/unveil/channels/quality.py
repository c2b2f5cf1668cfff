"""What can be measured of a picture that has nothing to do with who is in it: its quality."""

from __future__ import annotations

import cv2
import numpy as np

from unveil.channels.face_image import FaceImage
from unveil.faces.align import TEMPLATE_SIZE

QUALITY_FEATURES = ("sharpness", "brightness", "contrast", "colour", "picture size")


def quality_features(shot: FaceImage) -> tuple[float, ...]:
    """The TRAITS of a picture and of its face in the template, six digits each; PictureError when none is found.

    Measured on the middle of the face: what lies outside a picture is black in its corners, and no quality of it.
    sharpness: log10 of the variance of the Laplacian; brightness and contrast: mean and standard deviation of grey, 0
    to 255; colour: mean distance from grey; picture size: log2 of the shorter side in pixels.
    """
    edge = TEMPLATE_SIZE // 4
    crop = np.ascontiguousarray(shot.aligned_crop[edge:-edge, edge:-edge])
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(v[0, 0]) for v in cv2.meanStdDev(grey))
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0])
    colour = cv2.norm(crop, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), cv2.NORM_L1) / crop.size
    values = (
        np.log10(edges**2 + 1),
        mean,
        deviation,
        colour,
        np.log2(min(shot.size)),
    )
    return tuple(float(f"{v:.6g}") for v in values)
