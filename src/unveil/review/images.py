"""The images that the review page shows, under numbers that reveal neither name nor role."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.compute as pc
from PIL import Image

from unveil.channels import open_detector
from unveil.embedding.images import ImageReader
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import ImageError
from unveil.images import decode_rgb
from unveil.io.memory import held_memory
from unveil.results import ReviewPair
from unveil.runs.finished import FinishedRun
from unveil.runs.parts import MATCHES
from unveil.types import Role

# The longer side in pixels. Larger images are downscaled.
MAX_SIDE = 1600
# Up to this side an image is sent as PNG, without loss.
MAX_LOSSLESS_SIDE = 512
JPEG_QUALITY = 92
# Pixels around the aligned face of 112, so that hair and neck are visible.
FACE_MARGIN = 28
MAX_NEIGHBOURS = 6


@dataclass(frozen=True)
class Neighbour:
    """An image by its number, and its caption. The caption is empty in a blind review."""

    number: int
    caption: str


@dataclass(frozen=True)
class NeighbourGroup:
    """Further images to compare with a pair."""

    title: str
    images: list[Neighbour]


class ReviewImages:
    """The images of a finished run. Several threads may use it."""

    def __init__(self, run: FinishedRun) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._number_of: dict[tuple[Role, str], int] = {}
        self._by_number: list[tuple[Role, str]] = []
        detector = open_detector(run.detector)
        self._readers = {
            role: ImageReader(source, run.embedded(role), ImagePreprocessor([], run.alignment(role), detector))
            for role, source in run.sources().items()
        }

    @property
    def missing(self) -> tuple[Role, ...]:
        """Roles whose images are not available."""
        return tuple(role for role in self._run.roles if role not in self._readers)

    @property
    def all_aligned(self) -> bool:
        """Whether every image is an aligned crop, so that all faces have the same size without cropping."""
        return all(
            reader.preprocessor.alignment.sides is None or reader.preprocessor.alignment.sides
            for reader in self._readers.values()
        )

    def number(self, role: Role, id: str) -> int:
        """The number of an image. Numbers are assigned in the order of requests, so they reveal nothing."""
        with self._lock:
            if (role, id) not in self._number_of:
                self._number_of[role, id] = len(self._by_number)
                self._by_number.append((role, id))
            return self._number_of[role, id]

    def data(self, number: int, *, face: bool) -> tuple[bytes, str] | None:
        """The bytes and the media type of an image, or of its aligned face. None if it is not available."""
        if not 0 <= number < len(self._by_number):
            return None
        role, id = self._by_number[number]
        reader = self._readers.get(role)
        if reader is None:
            return None
        with held_memory():
            try:
                data = reader.data(id)
                pixels = reader.decode(data).crop_with_margin(FACE_MARGIN) if face else decode_rgb(data)
            except ImageError:
                return None
            image = Image.fromarray(pixels)
            image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        if max(image.size) <= MAX_LOSSLESS_SIDE:
            image.save(buffer, "PNG", compress_level=1)
            return buffer.getvalue(), "image/png"
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue(), "image/jpeg"

    def neighbours(self, pair: ReviewPair, blind: bool) -> list[NeighbourGroup]:
        """Other images of both people. Unless ``blind``, also the closest images of the other set by cosine."""
        synthetic, real = pair.synthetic_id, pair.real_id

        def group(title: str, role: Role, found: Iterable[tuple[str, str]]) -> NeighbourGroup:
            images = [Neighbour(self.number(role, id), "" if blind else caption) for id, caption in found]
            return NeighbourGroup(title, images)

        groups = [
            group("Other images of the synthetic identity", "synthetic", self._others_of("synthetic", synthetic)),
            group("Other images of the real person", pair.role, self._others_of(pair.role, real)),
        ]
        if not blind:
            to_synthetic = self._closest("synthetic_id", synthetic, "training_id", real)
            to_real = self._closest("training_id", real, "synthetic_id", synthetic)
            groups.append(group("Training images closest to the synthetic image", "training", to_synthetic))
            groups.append(group("Synthetic images closest to the real image", "synthetic", to_real))
        return groups

    def _closest(self, column: str, id: str, other: str, exclude: str) -> list[tuple[str, str]]:
        """Ids and captions of the closest ``other`` images to the image with this ``id`` in ``column``."""
        found = self._matches.filter(pc.equal(self._matches[column], id)).to_pydict()
        rows = sorted(zip(found["cosine"], found[other], strict=True), key=lambda row: -row[0])
        captions = [(name, f"{name}, cosine {cosine:.3f}") for cosine, name in rows if name != exclude]
        return captions[:MAX_NEIGHBOURS]

    def _others_of(self, role: Role, id: str) -> list[tuple[str, str]]:
        """Ids and captions of other images of the same person."""
        person_of, images_of = self._people(role)
        person = person_of.get(id)
        others = [] if person is None else [other for other in images_of[person] if other != id]
        return [(other, other) for other in others[:MAX_NEIGHBOURS]]

    @cached_property
    def _matches(self) -> Any:
        return self._run.table(MATCHES, ["synthetic_id", "training_id", "cosine"])

    def _people(self, role: Role) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The person of each image of a role, and the images of each person."""
        with self._lock:
            if role not in self._people_by_role:
                images = self._run.embedded(role)
                person_of = {id: p for id, p in zip(images.ids, images.people, strict=True) if p is not None}
                images_of: dict[str, list[str]] = {}
                for id, person in person_of.items():
                    images_of.setdefault(person, []).append(id)
                self._people_by_role[role] = (person_of, images_of)
            return self._people_by_role[role]

    @cached_property
    def _people_by_role(self) -> dict[Role, tuple[dict[str, str], dict[str, list[str]]]]:
        return {}
