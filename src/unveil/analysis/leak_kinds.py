"""The kind of leak of each finding, from the similarity of its two images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unveil.analysis.cohort import mated_pairs
from unveil.channels import CopyChannel, Detector, FaceImage, realigned_face
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.channels.loading import load_channels
from unveil.channels.similarity import ImageDescriptor, correlation, describe_image, detail_correlation, hash_distance
from unveil.embedding.distributed import OTHER_MODELS
from unveil.embedding.images import ImageReader, ImageWorkers
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.engine import Task, WorkerFailure, map_ordered
from unveil.errors import ImageError, ModelError
from unveil.images import pixel_digest
from unveil.io.host import cores
from unveil.io.memory import held_memory
from unveil.progress import Progress
from unveil.results import ImageCopy, PairFinding, PairKind, PersonFinding
from unveil.stats.leak_kinds import CopyThresholds, ImageSimilarity, calibrate_thresholds, is_changed_copy
from unveil.types import Vectors

# Pairs of different images of one training person; enough for thresholds that 1% exceed.
MATED = 300
# Pairs that a worker receives at a time.
PAIRS_SENT = 8

F = TypeVar("F", PersonFinding, PairFinding)
PairIds = tuple[str, str]  # the ids of a synthetic or training image, and of a training image
ImageOf = tuple[ImageReader, str]  # an image of one role by its id


@dataclass(frozen=True)
class _Descriptors:
    """The descriptors of one image: digests of its bytes and pixels, appearance, vectors of the copy model."""

    digest: str
    pixels: bytes
    appearance: ImageDescriptor
    vectors: Vectors | None


@dataclass(frozen=True)
class LeakKinds:
    """The similarity of pairs, and the thresholds that classify them into kinds of leak."""

    thresholds: CopyThresholds
    similarity: dict[PairIds, ImageSimilarity]

    def mark(self, findings: Sequence[F]) -> tuple[F, ...]:
        """The findings with the kind of each pair that was measured."""
        return tuple(replace(f, kind=self._kind(f)) for f in findings)

    def copies(self, findings: Iterable[PersonFinding | PairFinding]) -> tuple[ImageCopy, ...]:
        """The pairs that are near-identical copies. Pairs of equal images are not among them."""
        people = {(f.synthetic_id, f.training_id): f.person for f in findings}
        kinds = ((pair, self.similarity.get(pair)) for pair in people)
        return tuple(
            ImageCopy(*pair, people[pair], "nearly")
            for pair, similarity in kinds
            if similarity is not None and self.thresholds.kind(similarity) == "near-identical copy"
        )

    def n_changed(self, findings: Iterable[PersonFinding | PairFinding]) -> int:
        """The number of synthetic images that are probably changed training images."""
        measured = ((f.synthetic_id, self.similarity.get((f.synthetic_id, f.training_id))) for f in findings)
        return len({id for id, similarity in measured if similarity is not None and is_changed_copy(similarity)})

    def _kind(self, finding: PersonFinding | PairFinding) -> PairKind | None:
        similarity = self.similarity.get((finding.synthetic_id, finding.training_id))
        if similarity is None:
            return None
        return PairKind(self.thresholds.kind(similarity, by_face=finding.channel == "face"), similarity)


def classify_pairs(
    findings: Iterable[PersonFinding | PairFinding],
    synthetic: ImageReader,
    training: ImageReader,
    copy_channel: CopyChannel | None,
    progress: Progress,
    rng: np.random.Generator,
    workers: int = 0,
) -> LeakKinds:
    """Measures how similar the two images of each finding are, and the thresholds on pairs of training images.

    The thresholds come from pairs of different images of one training person. Pairs with an image that cannot be read,
    or without a detected face, are left out. ``workers`` 0 means one per core.
    """
    pairs = list(dict.fromkeys((f.synthetic_id, f.training_id) for f in findings))
    mated = _mated_pairs(training, rng)
    progress.start("classifying the closest pairs", len(pairs) + len(mated), "image pairs")
    tasks = [((first, a), (training, b)) for first, some in ((training, mated), (synthetic, pairs)) for a, b in some]
    measured = similar_pairs(tasks, progress, workers, copy_channel)
    thresholds = calibrate_thresholds([s for s in measured[: len(mated)] if s is not None])
    return LeakKinds(
        thresholds, {pair: s for pair, s in zip(pairs, measured[len(mated) :], strict=True) if s is not None}
    )


def similar_pairs(
    pairs: Sequence[tuple[ImageOf, ImageOf]],
    progress: Progress,
    workers: int = 0,
    copy_channel: CopyChannel | None = None,
) -> list[ImageSimilarity | None]:
    """How similar the two images of each pair are, None where one cannot be read.

    ``progress`` advances by one a pair. ``workers`` 0 means one per core. The workers of an engine measure pairs if the
    readers have them. Raises EngineError if they end whichever pair they measure.
    """
    by_engine = next((images.workers for pair in pairs for images, _ in pair), None)
    if by_engine is not None:
        return _measured_by(by_engine, pairs, progress, copy_channel)

    def measure(pair: tuple[ImageOf, ImageOf]) -> ImageSimilarity | None:
        try:
            return _similarity(*(_describe(images, id, copy_channel) for images, id in pair))
        except ImageError:
            return None
        finally:
            progress.advance(1)

    return list(map_ordered(measure, pairs, workers or cores()))


@dataclass(frozen=True)
class SentImage:
    """The bytes of an image, or None if it cannot be read, and the number of its alignment in the task."""

    data: bytes | None
    alignment: int


@dataclass(frozen=True)
class MeasurePairs(Task[tuple[tuple[SentImage, SentImage], ...], list[ImageSimilarity | None]]):
    """Measures how similar the images of pairs are; ``models`` are the detector and the copy model of this process."""

    config: ChannelConfig
    alignments: tuple[ImageAlignment, ...]
    models: tuple[str, str]

    def __call__(self) -> Callable[[tuple[tuple[SentImage, SentImage], ...]], list[ImageSimilarity | None]]:
        loaded = load_channels(self.config)
        if _models_of(loaded.detector, loaded.copy_channel) != self.models:
            raise ModelError(OTHER_MODELS)
        preprocessors = [ImagePreprocessor([], alignment, loaded.detector) for alignment in self.alignments]

        def describe(image: SentImage) -> _Descriptors:
            if image.data is None:
                raise ImageError("read", "unreadable")
            with held_memory():
                face = preprocessors[image.alignment].decode(image.data)
                return _descriptors(image.data, face, loaded.copy_channel)

        def measure(pair: tuple[SentImage, SentImage]) -> ImageSimilarity | None:
            try:
                return _similarity(*map(describe, pair))
            except ImageError:
                return None

        return lambda pairs: [measure(pair) for pair in pairs]


def _models_of(detector: Detector, copy_channel: CopyChannel | None) -> tuple[str, str]:
    return detector.key, "" if copy_channel is None else copy_channel.model_id


def _measured_by(
    workers: ImageWorkers,
    pairs: Sequence[tuple[ImageOf, ImageOf]],
    progress: Progress,
    copy_channel: CopyChannel | None,
) -> list[ImageSimilarity | None]:
    """The same by the workers of an engine. This process reads the images, since it has opened the sources already."""
    readers = {id(images): images for pair in pairs for images, _ in pair}
    number = {key: i for i, key in enumerate(readers)}
    detector = next(iter(readers.values())).preprocessor.detector
    copy_model = None if copy_channel is None else workers.config.copy_model
    task = MeasurePairs(
        replace(workers.config, models=(), channels=(), copy_model=copy_model).absolute,
        tuple(images.preprocessor.alignment for images in readers.values()),
        _models_of(detector, copy_channel),
    )

    def sent(images: ImageReader, name: str) -> SentImage:
        try:
            return SentImage(images.data(name), number[id(images)])
        except ImageError:
            return SentImage(None, number[id(images)])

    def batches() -> Iterator[tuple[tuple[SentImage, SentImage], ...]]:
        for start in range(0, len(pairs), PAIRS_SENT):
            yield tuple((sent(*a), sent(*b)) for a, b in pairs[start : start + PAIRS_SENT])

    gpus = 0.0 if copy_model is None or workers.config.device == "cpu" else 1.0
    measured: list[ImageSimilarity | None] = []
    for result in workers.engine.map(
        "measuring pairs", task, batches(), gpus=gpus, finished=lambda batch: progress.advance(len(batch))
    ):
        if isinstance(result, WorkerFailure):
            raise result.error("measuring pairs of images")
        measured += result
    return measured


def _mated_pairs(training: ImageReader, rng: np.random.Generator) -> Sequence[PairIds]:
    """Two random images of each of at most MATED people who have two."""
    embedded = training.embedded
    if embedded.people.n_missing == len(embedded):
        return []
    rows = zip(*mated_pairs(embedded.people_or_ids, rng, MATED), strict=True)
    return [(embedded.ids[a], embedded.ids[b]) for a, b in rows]


def _describe(images: ImageReader, id: str, copy_channel: CopyChannel | None) -> _Descriptors:
    data = images.data(id)
    with held_memory():
        return _descriptors(data, images.decode(data), copy_channel)


def _descriptors(data: bytes, face: FaceImage, copy_channel: CopyChannel | None) -> _Descriptors:
    vectors = None
    if copy_channel is not None:
        crop = copy_channel.crop(face)
        # With its mirror image: a mirrored copy is a copy.
        vectors = copy_channel.embed(np.stack([crop, crop[:, ::-1]]))
    return _Descriptors(
        hashlib.sha256(data).hexdigest(),
        pixel_digest(face.pixels),
        describe_image(face.pixels, _faces(face)),
        vectors,
    )


def _faces(face: FaceImage) -> list[npt.NDArray[np.uint8]]:
    """The face as the crop shows it, and aligned again by its landmarks: a rotated or cropped copy is still a copy."""
    return [face.aligned_crop, realigned_face(face.aligned_crop)] if face.aligned else [face.aligned_crop]


def _similarity(a: _Descriptors, b: _Descriptors) -> ImageSimilarity:
    copy_cosine = None
    if a.vectors is not None and b.vectors is not None:
        copy_cosine = float((a.vectors[:1] @ b.vectors.T).max())
    return ImageSimilarity(
        correlation=correlation(a.appearance, b.appearance),
        detail=detail_correlation(a.appearance, b.appearance),
        bits=hash_distance(a.appearance, b.appearance),
        copy_cosine=copy_cosine,
        identical=a.digest == b.digest or a.pixels == b.pixels,
    )
