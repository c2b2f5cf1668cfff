"""Embedding by the workers of an engine: stretches of a source, each opened and embedded where the worker is.

Workers write shards into a storage that all of them see, and send back what became of each picture; no vector comes
this way. A picture that ends every process that looks at it is searched for, and becomes a reject.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from unveil.channels.alignment import ImageAlignment
from unveil.channels.loading import ChannelConfig
from unveil.embedding import pipeline as work
from unveil.embedding.pipeline import ImagePreprocessor, Partition, embed_partitions, probe_images, split_records
from unveil.embedding.shards import ShardStore
from unveil.engine import Engine, Task, WorkerFailure
from unveil.errors import EngineError, ModelError, SourceError
from unveil.images import LabelRule, Source, open_source
from unveil.images.location import Location
from unveil.io.storage import open_storage
from unveil.progress import Progress
from unveil.types import ImageRecord

logger = logging.getLogger(__name__)

# Partitions that a worker takes at a time: so few that there are some for everybody, at most.
MAX_PARTITIONS_PER_RANGE, MIN_RANGES = 8, 64
# How often a picture may end its process before it is taken to be the reason, and how many such pictures there may be.
CONFIRM_ATTEMPTS, MAX_POISONED = 3, 20
# A stretch that ends its worker is cut into so many until one picture is left.
SPLIT = 16


@dataclass(frozen=True)
class RecordRange:
    """Records of a source from ``start`` to ``stop``, with a hash of their ids, and those that nobody shall look at."""

    start: int
    stop: int
    seal: str
    poisoned: frozenset[int] = frozenset()

    @classmethod
    def of(cls, records: Sequence[ImageRecord], start: int, stop: int) -> RecordRange:
        return cls(start, stop, _seal(records[start:stop]))


def _seal(records: Sequence[ImageRecord]) -> str:
    return hashlib.sha256("\n".join(f"{r.id}\0{r.key}" for r in records).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class WorkerInput:
    """What a worker needs to open a source as it was opened here, and to look at it in the same way."""

    place: Location
    rule: LabelRule | None
    follow_links: bool
    equipment: ChannelConfig
    alignment: ImageAlignment
    recipes: tuple[str, ...]  # of the channels, as here

    def open(self) -> tuple[Source, ImagePreprocessor]:
        """Raises SourceError or ModelError when what is found is not what was found here."""
        try:
            source = open_source(self.place, self.rule, follow_links=self.follow_links)
        except SourceError as error:
            raise SourceError(f"{error}; every machine of the cluster has to see the pictures at this place") from None
        opened = self.equipment.open()
        way = ImagePreprocessor(opened.channels, self.alignment, opened.detector)
        if tuple(way.recipe(channel) for channel in way.channels) != self.recipes:
            raise ModelError(
                "a worker has other networks under these names, or another version; install the same everywhere"
            )
        return source, way

    def part(self, source: Source, stretch: RecordRange) -> list[ImageRecord]:
        """The records of a stretch; SourceError when they are others than here."""
        records = source.records[stretch.start : stretch.stop]
        if _seal(records) != stretch.seal:
            raise SourceError(
                f"{source.where}: a worker finds other pictures there; are all copies the same, and at rest?"
            )
        return records


@dataclass(frozen=True)
class EmbedRanges(Task[RecordRange, list[Partition]]):
    """Embeds stretches into shards; returns what became of each partition."""

    given: WorkerInput
    storage: str
    partition: int  # pictures a shard

    def __call__(self) -> Callable[[RecordRange], list[Partition]]:
        source, way = self.given.open()
        storage = open_storage(self.storage)
        stores = [ShardStore(storage, recipe) for recipe in self.given.recipes]

        def embed(stretch: RecordRange) -> list[Partition]:
            records = self.given.part(source, stretch)
            poisoned = frozenset(records[i - stretch.start].id for i in stretch.poisoned)
            return list(
                embed_partitions(source, split_records(records, self.partition), way, stores, 1, poisoned=poisoned)
            )

        return embed


@dataclass(frozen=True)
class ProbeRanges(Task[RecordRange, None]):
    """Does what embedding does and keeps nothing, to see who survives it."""

    given: WorkerInput

    def __call__(self) -> Callable[[RecordRange], None]:
        source, way = self.given.open()

        def look(stretch: RecordRange) -> None:
            probe_images(source, self.given.part(source, stretch), way)

        return look


def embed_distributed(
    engine: Engine, source: Source, given: WorkerInput, storage: str, label: str, progress: Progress, gpus: float
) -> list[Partition]:
    """What became of every partition of a source, in order. Raises EngineError when it is not single pictures that end
    the workers."""
    records = source.records
    n_partitions = -(-len(records) // work.PARTITION)
    size = work.PARTITION * max(1, min(MAX_PARTITIONS_PER_RANGE, n_partitions // MIN_RANGES))
    stretches = [RecordRange.of(records, i, min(i + size, len(records))) for i in range(0, len(records), size)]
    job = EmbedRanges(given, storage, work.PARTITION)

    def finished(stretch: RecordRange) -> None:
        progress.advance(stretch.stop - stretch.start)

    done: list[list[Partition] | WorkerFailure] = list(
        engine.map(f"embedding {label}", job, stretches, gpus=gpus, finished=finished)
    )
    lost = {i: one for i, one in enumerate(done) if isinstance(one, WorkerFailure)}
    if lost:
        named = [stretches[i] for i in lost]
        poisoned = frozenset(_find_poisoned(engine, records, named, given, label, progress, gpus))
        again = [replace(s, poisoned=poisoned & frozenset(range(s.start, s.stop))) for s in named]
        results = engine.map(f"embedding {label}", job, again, gpus=gpus, finished=finished)
        for i, found in zip(lost, results, strict=True):
            if isinstance(found, WorkerFailure):
                raise _not_the_images(label, found)
            done[i] = found
    return [partition for part in done if not isinstance(part, WorkerFailure) for partition in part]


def _find_poisoned(
    engine: Engine,
    records: Sequence[ImageRecord],
    stretches: Sequence[RecordRange],
    given: WorkerInput,
    label: str,
    progress: Progress,
    gpus: float,
) -> Iterator[int]:
    """The records that end every process which looks at them."""
    found = 0
    open_ones = list(stretches)
    while open_ones:
        smaller = [part for stretch in open_ones for part in _parts(records, stretch)]
        several, single = [s for s in smaller if s.stop - s.start > 1], [s for s in smaller if s.stop - s.start == 1]
        open_ones = []
        for tried, attempts in ((several, 1), (single, CONFIRM_ATTEMPTS)):
            results = engine.map(f"searching {label}", ProbeRanges(given), tried, attempts=attempts, gpus=gpus)
            for stretch, result in zip(tried, results, strict=True):
                if not isinstance(result, WorkerFailure):
                    continue
                if attempts == 1:
                    open_ones.append(stretch)
                    continue
                found += 1
                if found > MAX_POISONED:
                    raise _not_the_images(label, result)
                logger.warning(f"{label}: `{records[stretch.start].id}` ends the process that decodes it: a reject")
                yield stretch.start


def _parts(records: Sequence[ImageRecord], stretch: RecordRange) -> list[RecordRange]:
    size = -(-(stretch.stop - stretch.start) // SPLIT)
    return [RecordRange.of(records, i, min(i + size, stretch.stop)) for i in range(stretch.start, stretch.stop, size)]


def _not_the_images(label: str, lost: WorkerFailure) -> EngineError:
    return EngineError(
        f"embedding {label}: workers end whatever they look at ({lost.reason}); have they memory enough for the "
        "networks? docs/how-to/cluster.md says how much. What is finished is kept, run the same command again"
    )
