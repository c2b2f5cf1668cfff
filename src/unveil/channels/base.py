"""The seam between pictures and vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from unveil.channels.face_image import FaceImage
from unveil.types import Vectors

ImageArray = npt.NDArray[np.uint8]


class Channel(Protocol):
    """Turns pictures into unit vectors. Its methods may be called from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def batch(self) -> int:
        """How many crops a call of `embed` should have."""
        ...

    @property
    def model_id(self) -> str:
        """A hash of everything that decides a vector."""
        ...

    def crop(self, shot: FaceImage) -> ImageArray:
        """What is embedded of a picture, (S, S, 3) uint8 RGB; PictureError when there is nothing."""
        ...

    def embed(self, crops: ImageArray) -> Vectors:
        """Unit vectors (N, D) float32 of crops (N, S, S, 3); a row of zeros where there is none."""
        ...
