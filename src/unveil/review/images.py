"""Images as the page shows them: under numbers that tell nothing, from decoded pixels alone."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from unveil.analysis.review_pairs import ReviewPair
from unveil.channels import open_detector
from unveil.embedding.images import ImageReader
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import ImageError
from unveil.images import decode_rgb
from unveil.runs.finished import FinishedRun
from unveil.types import Role

# Along the longer side; larger images are made smaller.
LARGEST = 1600
# Up to this size pixels are shown as they are.
LOSSLESS = 512
QUALITY = 92
# Around the template of 112 pixels, so that hair and neck are seen.
MARGIN = 28
MAX_NEIGHBOURS = 6


@dataclass(frozen=True)
class Neighbour:
    """An image by its number, and what is told of it."""

    number: int
    told: str


@dataclass(frozen=True)
class Group:
    """Images to compare a pair with."""

    title: str
    images: list[Neighbour]


class ReviewImages:
    """The images of a run that was opened for review; may be asked from several threads."""

    def __init__(self, run: FinishedRun) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._numbers: dict[tuple[Role, str], int] = {}
        self._named: list[tuple[Role, str]] = []
        detector = open_detector(run.detector)
        self._images = {
            role: ImageReader(source, run.embedded(role), ImagePreprocessor([], run.alignment(role), detector))
            for role, source in run.sources().items()
        }

    @property
    def missing(self) -> tuple[Role, ...]:
        """Roles whose images are not where they were."""
        return tuple(role for role in self._run.roles if role not in self._images)

    @property
    def all_aligned(self) -> bool:
        """Whether every image is an aligned crop, so that all are at one scale as they are."""
        return all(
            images.preprocessor.alignment.sides is None or images.preprocessor.alignment.sides
            for images in self._images.values()
        )

    def number(self, role: Role, id: str) -> int:
        """The number of an image: given in the order of asking, so that it tells neither name nor role."""
        with self._lock:
            if (role, id) not in self._numbers:
                self._numbers[role, id] = len(self._named)
                self._named.append((role, id))
            return self._numbers[role, id]

    def data(self, number: int, *, face: bool) -> tuple[bytes, str] | None:
        """An image and its media type: whole, or its face at the scale of all faces. None when there is none."""
        if not 0 <= number < len(self._named):
            return None
        role, id = self._named[number]
        images = self._images.get(role)
        if images is None:
            return None
        try:
            data = images.data(id)
            pixels = images.decode(data).crop_with_margin(MARGIN) if face else decode_rgb(data)
        except ImageError:
            return None
        image = Image.fromarray(pixels)
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        if max(image.size) <= LOSSLESS:
            image.save(buffer, "PNG", compress_level=1)
            return buffer.getvalue(), "image/png"
        image.save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue(), "image/jpeg"

    def neighbours(self, pair: ReviewPair, blind: bool) -> list[Group]:
        """Other images to compare a pair with: of the same people, and unless ``blind`` the closest of the other
        side, by raw cosine."""
        synthetic, real = pair.synthetic_id, pair.real_id

        def group(title: str, role: Role, found: Iterable[tuple[str, str]]) -> Group:
            return Group(title, [Neighbour(self.number(role, id), "" if blind else told) for id, told in found])

        groups = [
            group("Other images of the synthetic identity", "synthetic", self._others_of("synthetic", synthetic)),
            group("Other images of the real person", pair.role, self._others_of(pair.role, real)),
        ]
        if not blind:
            to_synthetic = self._nearest("synthetic_id", synthetic, "training_id", real)
            to_real = self._nearest("training_id", real, "synthetic_id", synthetic)
            groups.append(group("Training images closest to the synthetic one", "training", to_synthetic))
            groups.append(group("Synthetic images closest to the real one", "synthetic", to_real))
        return groups

    def _nearest(self, of: str, id: str, other: str, but: str) -> list[tuple[str, str]]:
        found = self._matches.filter(pc.equal(self._matches[of], id)).to_pydict()
        rows = sorted(zip(found["cosine"], found[other], strict=True), key=lambda row: -row[0])
        return [(name, f"{name}, cosine {cosine:.3f}") for cosine, name in rows if name != but][:MAX_NEIGHBOURS]

    def _others_of(self, role: Role, id: str) -> list[tuple[str, str]]:
        people, members = self._people(role)
        person = people.get(id)
        others = [] if person is None else [other for other in members[person] if other != id]
        return [(other, other) for other in others[:MAX_NEIGHBOURS]]

    @cached_property
    def _matches(self) -> Any:
        return pq.read_table(self._run.path / "matches.parquet", columns=["synthetic_id", "training_id", "cosine"])

    def _people(self, role: Role) -> tuple[dict[str, str], dict[str, list[str]]]:
        with self._lock:
            if role not in self._by_person:
                images = self._run.embedded(role)
                people = {id: p for id, p in zip(images.ids, images.people, strict=True) if p is not None}
                members: dict[str, list[str]] = {}
                for id, person in people.items():
                    members.setdefault(person, []).append(id)
                self._by_person[role] = (people, members)
            return self._by_person[role]

    @cached_property
    def _by_person(self) -> dict[Role, tuple[dict[str, str], dict[str, list[str]]]]:
        return {}
