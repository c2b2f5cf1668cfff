"""The appearance channel: light, pose, hair and build of a picture, which a face network is trained to forget."""

from __future__ import annotations

import hashlib
from functools import cached_property

import cv2
import numpy as np

from unveil.channels.base import ImageArray
from unveil.channels.face_image import FaceImage
from unveil.faces.align import TEMPLATE_SIZE
from unveil.faces.models import ALIGNMENT_VERSION
from unveil.types import Vectors

# The aligned face is seen in this many pixels a side, in three colours. Chosen in the lab, as the whitening is.
SIDE = 16
# Colours that differ by less than this over a face, root mean square, show none.
FLAT = 0.5


class AppearanceChannel:
    """The aligned face as a coarse picture, its mean colour and contrast taken out: two such vectors multiply to their
    normalised correlation."""

    name = "appearance"
    dimension = 3 * SIDE * SIDE
    batch = 32

    @cached_property
    def model_id(self) -> str:
        facts = f"appearance colour {SIDE} of {TEMPLATE_SIZE}, alignment {ALIGNMENT_VERSION}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def crop(self, shot: FaceImage) -> ImageArray:
        return shot.aligned_crop

    def embed(self, crops: ImageArray) -> Vectors:
        small = [cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for crop in crops]
        coloured = np.array(small, np.float32)
        coloured -= coloured.mean(axis=(1, 2), keepdims=True)
        flat = coloured.reshape(len(crops), self.dimension)
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        seen = length > FLAT * np.sqrt(self.dimension)
        return np.asarray(np.where(seen, flat / np.where(seen, length, 1), 0), np.float32)
