"""The appearance channel: light, pose, hair and build in an image, which a face model is trained to ignore."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from unveil.channels.base import Channel, ImageArray
from unveil.channels.face_image import FaceImage
from unveil.faces.align import TEMPLATE_SIZE
from unveil.faces.models import ALIGNMENT_VERSION
from unveil.types import Vectors

# The aligned face is reduced to this many pixels a side, in three colours. Chosen by experiment, as was the whitening
# (docs/figures/lab_0_1.md).
SIDE = 16
# Root mean square difference of colours below which a face has no appearance.
FLAT = 0.5


class AppearanceChannel(Channel):
    """The aligned face as a coarse image, without its mean colour and contrast.

    The cosine of two such vectors is the normalised correlation of the coarse images.
    """

    name = "appearance"
    dimension = 3 * SIDE * SIDE
    batch = 32
    model_id = hashlib.sha256(
        f"appearance colour {SIDE} of {TEMPLATE_SIZE}, alignment {ALIGNMENT_VERSION}".encode()
    ).hexdigest()

    def crop(self, image: FaceImage) -> ImageArray:
        return image.aligned_crop

    def embed(self, crops: ImageArray) -> Vectors:
        coarse = np.array([cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for crop in crops], np.float32)
        coarse -= coarse.mean(axis=(1, 2), keepdims=True)
        vectors = coarse.reshape(len(crops), self.dimension)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        valid = length > FLAT * np.sqrt(self.dimension)
        return np.asarray(np.where(valid, vectors / np.where(valid, length, 1), 0), np.float32)
