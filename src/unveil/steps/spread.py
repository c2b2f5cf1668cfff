"""Embedding by the workers of an engine: stretches of a source, each opened and embedded where the worker is.

Workers write shards into a storage that all of them see, and send back what became of each picture; no vector comes
this way. A picture that ends every process that looks at it is searched for, and becomes a reject.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from unveil import work
from unveil.addresses import Say
from unveil.channels.alignment import Alignment
from unveil.channels.equipment import Equipment
from unveil.engine import Engine, Job, Lost
from unveil.errors import EngineError, ModelError, SourceError
from unveil.images import IdentityRule, Source, open_source
from unveil.images.place import Place
from unveil.progress import Progress
from unveil.storage import open_storage
from unveil.store import ShardStore
from unveil.types import ImageRecord
from unveil.work import Partition, Way, cut, embed_partitions, look_at

# Partitions that a worker takes at a time: so few that there are some for everybody, at most.
MOST_AT_ONCE, FEWEST_STRETCHES = 8, 64
# How often a picture may end its process before it is taken to be the reason, and how many such pictures there may be.
SURE_AFTER, MOST_POISONED = 3, 20
# A stretch that ends its worker is cut into so many until one picture is left.
SPLIT = 16


@dataclass(frozen=True)
class Stretch:
    """Records of a source from ``start`` to ``stop``, with a hash of their ids, and those that nobody shall look at."""

    start: int
    stop: int
    seal: str
    poisoned: frozenset[int] = frozenset()

    @classmethod
    def of(cls, records: Sequence[ImageRecord], start: int, stop: int) -> Stretch:
        return cls(start, stop, _seal(records[start:stop]))


def _seal(records: Sequence[ImageRecord]) -> str:
    return hashlib.sha256("\n".join(f"{r.id}\0{r.key}" for r in records).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Given:
    """What a worker needs to open a source as it was opened here, and to look at it in the same way."""

    place: Place
    rule: IdentityRule | None
    follow_links: bool
    equipment: Equipment
    alignment: Alignment
    recipes: tuple[str, ...]  # of the channels, as here

    def open(self) -> tuple[Source, Way]:
        """Raises SourceError or ModelError when what is found is not what was found here."""
        try:
            source = open_source(self.place, self.rule, follow_links=self.follow_links)
        except SourceError as error:
            raise SourceError(f"{error}; every machine of the cluster has to see the pictures at this place") from None
        opened = self.equipment.open()
        way = Way(opened.channels, self.alignment, opened.detector)
        if tuple(way.recipe(channel) for channel in way.channels) != self.recipes:
            raise ModelError(
                "a worker has other networks under these names, or another version; install the same everywhere"
            )
        return source, way

    def part(self, source: Source, stretch: Stretch) -> list[ImageRecord]:
        """The records of a stretch; SourceError when they are others than here."""
        records = source.records[stretch.start : stretch.stop]
        if _seal(records) != stretch.seal:
            raise SourceError(
                f"{source.where}: a worker finds other pictures there; are all copies the same, and at rest?"
            )
        return records


@dataclass(frozen=True)
class EmbedStretches(Job[Stretch, list[Partition]]):
    """Embeds stretches into shards; returns what became of each partition."""

    given: Given
    storage: str
    partition: int  # pictures a shard

    def __call__(self, say: Say) -> Callable[[Stretch], list[Partition]]:
        source, way = self.given.open()
        storage = open_storage(self.storage, say)
        stores = [ShardStore(storage, recipe) for recipe in self.given.recipes]

        def embed(stretch: Stretch) -> list[Partition]:
            records = self.given.part(source, stretch)
            poisoned = frozenset(records[i - stretch.start].id for i in stretch.poisoned)
            return list(embed_partitions(source, cut(records, self.partition), way, stores, 1, poisoned=poisoned))

        return embed


@dataclass(frozen=True)
class LookAtStretches(Job[Stretch, None]):
    """Does what embedding does and keeps nothing, to see who survives it."""

    given: Given

    def __call__(self, say: Say) -> Callable[[Stretch], None]:
        source, way = self.given.open()

        def look(stretch: Stretch) -> None:
            look_at(source, self.given.part(source, stretch), way)

        return look


def embed_spread(
    engine: Engine, source: Source, given: Given, storage: str, label: str, progress: Progress, gpus: float
) -> list[Partition]:
    """What became of every partition of a source, in order. Raises EngineError when it is not single pictures that end
    the workers."""
    records = source.records
    n_partitions = -(-len(records) // work.PARTITION)
    size = work.PARTITION * max(1, min(MOST_AT_ONCE, n_partitions // FEWEST_STRETCHES))
    stretches = [Stretch.of(records, i, min(i + size, len(records))) for i in range(0, len(records), size)]
    job = EmbedStretches(given, storage, work.PARTITION)

    def finished(stretch: Stretch) -> None:
        progress.advance(stretch.stop - stretch.start)

    done: list[list[Partition] | Lost] = list(
        engine.map(f"embedding {label}", job, stretches, gpus=gpus, finished=finished)
    )
    lost = {i: one for i, one in enumerate(done) if isinstance(one, Lost)}
    if lost:
        named = [stretches[i] for i in lost]
        poisoned = frozenset(_find_poisoned(engine, records, named, given, label, progress, gpus))
        again = [replace(s, poisoned=poisoned & frozenset(range(s.start, s.stop))) for s in named]
        results = engine.map(f"embedding {label}", job, again, gpus=gpus, finished=finished)
        for i, found in zip(lost, results, strict=True):
            if isinstance(found, Lost):
                raise _not_the_pictures(label, found)
            done[i] = found
    return [partition for part in done if not isinstance(part, Lost) for partition in part]


def _find_poisoned(
    engine: Engine,
    records: Sequence[ImageRecord],
    stretches: Sequence[Stretch],
    given: Given,
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
        for tried, attempts in ((several, 1), (single, SURE_AFTER)):
            results = engine.map(f"searching {label}", LookAtStretches(given), tried, attempts=attempts, gpus=gpus)
            for stretch, result in zip(tried, results, strict=True):
                if not isinstance(result, Lost):
                    continue
                if attempts == 1:
                    open_ones.append(stretch)
                    continue
                found += 1
                if found > MOST_POISONED:
                    raise _not_the_pictures(label, result)
                progress.say(f"{label}: `{records[stretch.start].id}` ends the process that decodes it: a reject")
                yield stretch.start


def _parts(records: Sequence[ImageRecord], stretch: Stretch) -> list[Stretch]:
    size = -(-(stretch.stop - stretch.start) // SPLIT)
    return [Stretch.of(records, i, min(i + size, stretch.stop)) for i in range(stretch.start, stretch.stop, size)]


def _not_the_pictures(label: str, lost: Lost) -> EngineError:
    return EngineError(
        f"embedding {label}: workers end whatever they look at ({lost.told}); have they memory enough for the "
        "networks? docs/scale.md says how much. What is finished is kept, run the same command again"
    )
