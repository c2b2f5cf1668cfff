"""Embedding by the workers of an engine: each opens the source and embeds ranges of its records.

Workers write shards into a storage that all of them see, and return the result of each image without its vectors. An
image that crashes the decoder is located by bisection and rejected.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.channels.loading import load_channels
from unveil.embedding.pipeline import (
    EmbeddedPartition,
    ImagePreprocessor,
    PipelineSizes,
    embed_images,
    embed_partitions,
    open_stores,
    split_records,
)
from unveil.engine import Engine, Task, WorkerFailure
from unveil.errors import ImageError, ModelError, SourceError
from unveil.images import LabelRule, Source, open_source
from unveil.images.location import Location
from unveil.io.storage import open_storage
from unveil.io.trust import StoreKey
from unveil.progress import Progress
from unveil.types import ImageRecord

logger = logging.getLogger(__name__)

# Shards that a worker embeds at a time at most, and the number of ranges that is kept so that every worker gets some.
MAX_SHARDS_PER_RANGE, MIN_RANGES = 8, 64
# How often an image must end its worker before it is rejected, and how many such images a source may have.
CONFIRM_ATTEMPTS, MAX_CRASHING = 3, 20
# A range that ends its worker is split into so many parts, until single images are left.
SPLIT = 16
OTHER_MODELS = "a worker has other models under these names, or another version of unveil; install the same everywhere"


class SourceOpener(Protocol):
    """What opens a source: in this process, and pickled in each worker."""

    def open(self) -> Source:
        """The source. Raises SourceError if it cannot be read."""

    @property
    def absolute(self) -> SourceOpener:
        """The same for a process that runs in another folder."""


@dataclass(frozen=True)
class SourceSpec:
    """How the images at a place are opened."""

    location: Location
    label_rule: LabelRule | None = None
    follow_links: bool = False

    def open(self) -> Source:
        """The source. Raises SourceError if it cannot be read."""
        return open_source(self.location, self.label_rule, follow_links=self.follow_links)

    @property
    def absolute(self) -> SourceSpec:
        """The same with an absolute path, for a process that runs in another folder."""
        return replace(self, location=self.location.absolute)


@dataclass(frozen=True)
class RecordRange:
    """Records of a source from ``start`` to ``stop``, a hash of their ids, and those that crash the decoder."""

    start: int
    stop: int
    ids_sha256: str
    crashing: frozenset[int] = frozenset()

    @classmethod
    def from_records(cls, records: Sequence[ImageRecord], start: int, stop: int) -> RecordRange:
        """The range of ``records`` from ``start`` to ``stop``."""
        return cls(start, stop, _hash_ids(records[start:stop]))

    def of(self, source: Source) -> Sequence[ImageRecord]:
        """The records of this range. Raises SourceError if they differ from those of the process that made it."""
        found = source.records[self.start : self.stop]
        if _hash_ids(found) != self.ids_sha256:
            raise SourceError(
                f"{source.where}: a worker found other images there; make all copies the same and leave them unchanged "
                "while they are read"
            )
        return found


def _hash_ids(records: Sequence[ImageRecord]) -> str:
    return hashlib.sha256("\n".join(f"{r.id}\0{r.key}" for r in records).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class WorkerInput:
    """What a worker needs to open a source and to prepare its images as this process does."""

    source: SourceOpener
    config: ChannelConfig
    alignment: ImageAlignment
    configurations: tuple[str, ...]  # `ImagePreprocessor.configuration` of each channel in this process

    @classmethod
    def create(cls, source: SourceOpener, config: ChannelConfig, preprocessor: ImagePreprocessor) -> WorkerInput:
        """The input for workers that prepare images as ``preprocessor`` does."""
        configurations = tuple(preprocessor.configuration(channel) for channel in preprocessor.channels)
        return cls(source.absolute, config.absolute, preprocessor.alignment, configurations)

    def open(self) -> tuple[Source, ImagePreprocessor]:
        """Opens source and models. Raises SourceError or ModelError if they differ from those of this process."""
        try:
            source = self.source.open()
        except SourceError as error:
            raise SourceError(f"{error}; every machine of the cluster must have the images at this place") from None
        loaded = load_channels(self.config)
        preprocessor = ImagePreprocessor(loaded.all, self.alignment, loaded.detector)
        if tuple(preprocessor.configuration(channel) for channel in preprocessor.channels) != self.configurations:
            raise ModelError(OTHER_MODELS)
        return source, preprocessor


@dataclass(frozen=True)
class EmbedRanges(Task[RecordRange, list[EmbeddedPartition]]):
    """Embeds ranges into shards and returns the result of each partition."""

    input: WorkerInput
    storage: str
    key: StoreKey
    sizes: PipelineSizes

    def __call__(self) -> Callable[[RecordRange], list[EmbeddedPartition]]:
        source, preprocessor = self.input.open()
        stores = open_stores(open_storage(self.storage, self.key), preprocessor)

        def embed(records: RecordRange) -> list[EmbeddedPartition]:
            found = records.of(source)
            crashing = frozenset(found[i - records.start].id for i in records.crashing)
            partitions = split_records(found, self.sizes.images_per_shard)
            return list(
                embed_partitions(
                    source, partitions, preprocessor, stores, workers=1, sizes=self.sizes, crashing=crashing
                )
            )

        return embed


@dataclass(frozen=True)
class ProbeRanges(Task[RecordRange, None]):
    """Embeds ranges and discards the vectors, to find the images that end the process."""

    input: WorkerInput

    def __call__(self) -> Callable[[RecordRange], None]:
        source, preprocessor = self.input.open()

        def probe(records: RecordRange) -> None:
            for record in records.of(source):
                try:
                    data = source.read(record)
                except ImageError:
                    continue
                embed_images([partial(preprocessor.decode, data)], preprocessor.channels)

        return probe


def embed_distributed(
    engine: Engine,
    source: Source,
    input: WorkerInput,
    storage: str,
    key: StoreKey,
    label: str,
    progress: Progress,
    gpus: float,
    sizes: PipelineSizes | None = None,
) -> list[EmbeddedPartition]:
    """Embeds a source by the workers of an engine; returns the result of every partition in order.

    Workers seal their shards with ``key``. Raises EngineError if workers end and no single image is the cause.
    """
    sizes = sizes or PipelineSizes()
    records = source.records
    n_shards = -(-len(records) // sizes.images_per_shard)
    size = sizes.images_per_shard * max(1, min(MAX_SHARDS_PER_RANGE, n_shards // MIN_RANGES))
    ranges = [RecordRange.from_records(records, i, min(i + size, len(records))) for i in range(0, len(records), size)]
    task = EmbedRanges(input, storage, key, sizes)

    def finished(done: RecordRange) -> None:
        progress.advance(done.stop - done.start)

    results: list[list[EmbeddedPartition] | WorkerFailure] = list(
        engine.map(f"embedding {label}", task, ranges, gpus=gpus, finished=finished)
    )
    failures = [i for i, result in enumerate(results) if isinstance(result, WorkerFailure)]
    if failures:
        failed = [ranges[i] for i in failures]
        crashing = frozenset(_find_crashing(engine, records, failed, input, label, gpus))
        retried = [replace(r, crashing=crashing & frozenset(range(r.start, r.stop))) for r in failed]
        again = engine.map(f"embedding {label}", task, retried, gpus=gpus, finished=finished)
        for i, result in zip(failures, again, strict=True):
            if isinstance(result, WorkerFailure):
                raise result.error(f"embedding {label}, whichever image they decode")
            results[i] = result
    partitions = [one for result in results if not isinstance(result, WorkerFailure) for one in result]
    if len({partition.recipes for partition in partitions}) > 1:
        logger.warning(
            "%s: the workers have different devices or library versions; their vectors differ in the last digits", label
        )
    return partitions


def _find_crashing(
    engine: Engine,
    records: Sequence[ImageRecord],
    ranges: Sequence[RecordRange],
    input: WorkerInput,
    label: str,
    gpus: float,
) -> Iterator[int]:
    """The indices of the records that end every process that decodes them, found by bisection."""
    n_found = 0
    pending = list(ranges)
    while pending:
        parts = [part for one in pending for part in _split_range(records, one)]
        single = [part for part in parts if part.stop - part.start == 1]
        several = [part for part in parts if part.stop - part.start > 1]
        pending = []
        for tried, attempts in ((several, 1), (single, CONFIRM_ATTEMPTS)):
            results = engine.map(f"searching {label}", ProbeRanges(input), tried, attempts=attempts, gpus=gpus)
            for part, result in zip(tried, results, strict=True):
                if not isinstance(result, WorkerFailure):
                    continue
                if attempts == 1:
                    pending.append(part)
                    continue
                n_found += 1
                if n_found > MAX_CRASHING:
                    raise result.error(f"embedding {label}, whichever image they decode")
                logger.warning(
                    "%s: `%s` ends every process that decodes it and is rejected", label, records[part.start].id
                )
                yield part.start


def _split_range(records: Sequence[ImageRecord], whole: RecordRange) -> list[RecordRange]:
    size = -(-(whole.stop - whole.start) // SPLIT)
    starts = range(whole.start, whole.stop, size)
    return [RecordRange.from_records(records, i, min(i + size, whole.stop)) for i in starts]
