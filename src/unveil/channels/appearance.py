"""The appearance channel: light, pose, hair and build of a picture, which a face network is trained to forget."""

from __future__ import annotations

import hashlib
from functools import cached_property

import cv2
import numpy as np

from unveil.channels.base import Picture
from unveil.channels.shot import Shot
from unveil.faces.align import TEMPLATE_SIZE
from unveil.faces.models import ALIGNMENT_VERSION
from unveil.types import Vectors

# The aligned face is seen in this many grey pixels a side.
SIDE = 24
# Grey values that differ by less than this over a face show none.
FLAT = 0.5


class AppearanceChannel:
    """The aligned face as a coarse grey picture, its brightness and contrast taken out: two such vectors multiply to
    their normalised correlation."""

    name = "appearance"
    dimension = SIDE * SIDE

    @cached_property
    def model_id(self) -> str:
        facts = f"appearance grey {SIDE} of {TEMPLATE_SIZE}, alignment {ALIGNMENT_VERSION}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def crop(self, shot: Shot) -> Picture:
        return shot.template

    def embed(self, crops: Picture) -> Vectors:
        grey = [
            cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for crop in crops
        ]
        flat = np.array(grey, np.float32).reshape(len(crops), self.dimension)
        flat -= flat.mean(axis=1, keepdims=True)
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        seen = length > FLAT * SIDE
        return np.asarray(np.where(seen, flat / np.where(seen, length, 1), 0), np.float32)
