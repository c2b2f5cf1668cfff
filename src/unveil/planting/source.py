"""Planted images as a source, so that they are read, aligned and embedded like all others."""

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

# A photograph is cut to its face and this margin, in template pixels, so that the face can be detected again.
FRAME_MARGIN = 56


@dataclass(frozen=True)
class PlantedImage:
    """An image (S, S, 3) of a person, cut to the face with a ``margin``, and an aligned face to blend in."""

    person: str
    image: ImageArray
    margin: int
    partner: ImageArray

    @property
    def face(self) -> slice:
        """Rows and columns of the aligned face."""
        return slice(self.margin, self.image.shape[0] - self.margin)


class PlantedSource(Source):
    """Every planted image under every perturbation. An image is made when it is read, the same each time."""

    kind = "planted set"

    def __init__(
        self, images: Sequence[PlantedImage], perturbations: Sequence[Perturbation], seed: Sequence[int]
    ) -> None:
        super().__init__(Path("planted"), LabelRule("none"))
        self._images, self._perturbations, self._seed = images, perturbations, tuple(seed)
        self.records = [
            ImageRecord(f"{i:06d}/{k:03d}", image.person, f"{i} {k}")
            for i, image in enumerate(images)
            for k in range(len(perturbations))
        ]

    def open(self) -> PlantedSource:
        """Itself: a worker of an engine receives the planted images with it."""
        return self

    @property
    def absolute(self) -> PlantedSource:
        """Itself: it reads nothing from a path."""
        return self

    @staticmethod
    def indices(record_id: str) -> tuple[int, int]:
        """The indices of the image and of the perturbation behind a record."""
        image, perturbation = record_id.split("/")
        return int(image), int(perturbation)

    def read(self, record: ImageRecord) -> bytes:
        i, k = (int(v) for v in record.key.split())
        planted = self._images[i]
        rng = np.random.default_rng([*self._seed, i, k])
        image = perturb(planted.image, self._perturbations[k], planted.face, planted.partner, rng)
        good, data = cv2.imencode(".png", image[..., ::-1])
        if not good:
            raise ImageError("read", "planted image", f"{image.shape} could not be encoded")
        return data.tobytes()
