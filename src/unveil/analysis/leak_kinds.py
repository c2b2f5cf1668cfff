"""What kind of leak each finding is, by what its two pictures look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unveil.analysis.cohort import mated_pairs
from unveil.channels import CopyChannel, FaceImage, realigned_face
from unveil.channels.similarity import ImageDescriptor, correlation, describe_image, detail_correlation, hash_distance
from unveil.config.settings import Settings
from unveil.embedding.images import ImageReader
from unveil.engine import map_ordered
from unveil.errors import ImageError
from unveil.io.host import cores
from unveil.progress import Progress
from unveil.results.audit import PairFinding, PairKind, PersonFinding
from unveil.stats.leak_kinds import CopyThresholds, ImageSimilarity, calibrate_thresholds
from unveil.types import Vectors

# Pairs of different pictures of one training person; enough for a line that 1% cross.
MATED = 300

F = TypeVar("F", PersonFinding, PairFinding)
PairRows = tuple[str, str]  # the ids of a synthetic or training picture, and of a training picture


@dataclass(frozen=True)
class _Descriptors:
    """What is kept of a picture to compare it with others."""

    digest: str
    pixels: str
    look: ImageDescriptor
    vector: Vectors | None


@dataclass(frozen=True)
class LeakKinds:
    """Tells the kind of pairs, by lines calibrated on pairs of different pictures of one training person."""

    lines: CopyThresholds
    of: dict[PairRows, ImageSimilarity]

    def mark(self, findings: Sequence[F]) -> tuple[F, ...]:
        """The findings with the kind of each pair that was looked at."""
        return tuple(replace(f, kind=self._kind(f)) for f in findings)

    def _kind(self, finding: PersonFinding | PairFinding) -> PairKind | None:
        likeness = self.of.get((finding.synthetic_id, finding.training_id))
        if likeness is None:
            return None
        return PairKind(self.lines.kind(likeness, by_face=finding.channel == "face"), likeness)


def classify_pairs(
    findings: Iterable[PersonFinding | PairFinding],
    synthetic: ImageReader,
    training: ImageReader,
    network: CopyChannel | None,
    settings: Settings,
    progress: Progress,
) -> LeakKinds:
    """The kind of each finding's pair of a synthetic and a training picture, should it show one person.

    Pairs of which a picture cannot be read any more, or in which no face is found, are not in the answer.
    """
    wanted = list(dict.fromkeys((f.synthetic_id, f.training_id) for f in findings))
    mated = _mated_pairs(training, settings.random("kinds"))
    progress.start("looking at the closest pairs", len(wanted) + len(mated), "pairs")

    def like(task: tuple[ImageReader, PairRows]) -> ImageSimilarity | None:
        first, (a, b) = task
        try:
            return _similarity(_describe_images(first, a, network), _describe_images(training, b, network))
        except ImageError:
            return None
        finally:
            progress.advance(1)

    tasks = [*((training, pair) for pair in mated), *((synthetic, pair) for pair in wanted)]
    told = list(map_ordered(like, tasks, settings.workers or cores()))
    lines = calibrate_thresholds([likeness for likeness in told[: len(mated)] if likeness is not None])
    return LeakKinds(
        lines,
        {pair: likeness for pair, likeness in zip(wanted, told[len(mated) :], strict=True) if likeness is not None},
    )


def _mated_pairs(training: ImageReader, rng: np.random.Generator) -> Sequence[PairRows]:
    """Two random pictures of each of up to MATED people who have two."""
    embedded = training.embedded
    if all(person is None for person in embedded.people):
        return []
    rows = zip(*mated_pairs(embedded.people_or_ids, rng, MATED), strict=True)
    return [(embedded.ids[a], embedded.ids[b]) for a, b in rows]


def _describe_images(images: ImageReader, id: str, network: CopyChannel | None) -> _Descriptors:
    data = images.data(id)
    shot = images.decode(data)
    vectors = None
    if network is not None:
        crop = network.crop(shot)
        vectors = network.embed(np.stack([crop, crop[:, ::-1]]))
    return _Descriptors(
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(f"{shot.image.shape}".encode() + shot.image.tobytes()).hexdigest(),
        describe_image(shot.image, _faces(shot)),
        vectors,
    )


def _faces(shot: FaceImage) -> list[npt.NDArray[np.uint8]]:
    """The face as it lies in a crop, and as its landmarks would have it: a turned or cut copy is still a copy."""
    return [shot.aligned_crop, realigned_face(shot.aligned_crop)] if shot.aligned else [shot.aligned_crop]


def _similarity(a: _Descriptors, b: _Descriptors) -> ImageSimilarity:
    network = None
    if a.vector is not None and b.vector is not None:
        network = float((a.vector[:1] @ b.vector.T).max())
    return ImageSimilarity(
        correlation=correlation(a.look, b.look),
        detail=detail_correlation(a.look, b.look),
        bits=hash_distance(a.look, b.look),
        copy_cosine=network,
        identical=a.digest == b.digest or a.pixels == b.pixels,
    )
