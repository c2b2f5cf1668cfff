"""Planted pictures as a source like any other, so that they go the way of every picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unveil.errors import ImageError
from unveil.images import LabelRule, Source
from unveil.planting.perturbations import ImageArray, Perturbation, perturb
from unveil.types import ImageRecord

# Photographs are cut to their face and this much around it, in template pixels, so that the face is found again.
FRAME_MARGIN = 56


@dataclass(frozen=True)
class PlantedImage:
    """A person's picture to plant, cut to the face with a ``margin`` (S, S, 3), and an aligned face to blend in."""

    person: str
    image: ImageArray
    margin: int
    partner: ImageArray

    @property
    def face(self) -> slice:
        """Rows and columns of the aligned face."""
        return slice(self.margin, self.image.shape[0] - self.margin)


class PlantedSource(Source):
    """Every plant, changed in every way. Pictures are made when they are read, the same at each reading."""

    kind = "planted set"

    def __init__(self, plants: Sequence[PlantedImage], changes: Sequence[Perturbation], seed: Sequence[int]) -> None:
        super().__init__(Path("planted"), LabelRule("none"))
        self._plants, self._changes, self._seed = plants, changes, tuple(seed)
        self.records = [
            ImageRecord(f"{i:06d}/{k:03d}", plant.person, f"{i} {k}")
            for i, plant in enumerate(plants)
            for k in range(len(changes))
        ]

    @staticmethod
    def indices(record_id: str) -> tuple[int, int]:
        """The plant and the change that a record is of."""
        plant, how = record_id.split("/")
        return int(plant), int(how)

    def read(self, record: ImageRecord) -> bytes:
        i, k = (int(v) for v in record.key.split())
        plant = self._plants[i]
        rng = np.random.default_rng([*self._seed, i, k])
        image = perturb(plant.image, self._changes[k], plant.face, plant.partner, rng)
        good, data = cv2.imencode(".png", image[..., ::-1])
        if not good:
            raise ImageError("read", "planted picture", f"{image.shape} could not be encoded")
        return data.tobytes()
