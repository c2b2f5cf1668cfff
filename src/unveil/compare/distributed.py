"""All pairs as tiles: a panel of queries against a stretch of the gallery, each by some worker of an engine.

A worker goes through its stretch block by block, and carries what a pair must reach from one to the next. What a tile
leaves is written to a storage in three parts, which are merged over trees: best rows along the gallery, best queries
along the panels, the rest over all. A part that is there is not made again, so a comparison that was cut short goes on;
names of parts say what is in them. How tiles are cut depends on the sizes alone.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from unveil.compare import merging
from unveil.compare.backends import Backend, open_backend
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.engine import Engine, SharedArray, Task, WorkerFailure
from unveil.errors import EngineError, StoreError
from unveil.io.checkpoint import Checkpoint
from unveil.io.storage import Storage, open_storage
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]
Kind = Literal["rows", "columns", "overall"]

# Fewer pairs than this are compared sooner here than they are sent away.
MIN_PAIRS = 1_000_000_000
# Rows that a worker fetches at once, blocks that a tile goes along the gallery, and panels there are at least, so that
# there is work for everybody.
BLOCK_ROWS, BLOCKS, FEWEST_PANELS, FEWEST_ROWS = 65_536, 4, 16, 2_048
FAN_IN = 16


@dataclass(frozen=True)
class TileSizes:
    """Sizes of tiles, in rows."""

    panel: int
    block: int
    blocks: int

    @classmethod
    def of(cls, n_queries: int) -> TileSizes:
        """For so many queries."""
        panel = max(FEWEST_ROWS, -(-n_queries // FEWEST_PANELS))
        return cls(min(BLOCK_ROWS, panel), BLOCK_ROWS, BLOCKS)

    def panels(self, n: int) -> list[slice]:
        return _slices(0, n, self.panel)

    def stretches(self, n: int) -> list[slice]:
        return _slices(0, n, self.block * self.blocks)

    def within(self, stretch: slice) -> list[slice]:
        return _slices(stretch.start, stretch.stop, self.block)


def _slices(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


@dataclass(frozen=True)
class Tile:
    """What a worker is given: some queries with the number of the first, blocks of the gallery, and their offsets."""

    name: str
    first_query: int
    first_row: int
    queries: SharedArray
    blocks: tuple[SharedArray, ...]
    query_offset: Floats
    gallery_offset: Floats


@dataclass(frozen=True)
class Merge:
    """Parts of one kind to make one part of."""

    kind: Kind
    parts: tuple[str, ...]
    into: str


@dataclass(frozen=True)
class CompareTiles(Task[Tile, int]):
    """Compares tiles with one backend, on one thread, and writes what is left; returns the pairs of each."""

    backend: str
    wanted: QuerySpec  # offsets are those of the tile
    storage: str

    def __call__(self) -> Callable[[Tile], int]:
        backend, storage = open_backend(self.backend, 1), open_storage(self.storage)
        known = SharedState()
        settled: list[Backend] = []

        def compare(tile: Tile) -> int:
            if not settled:
                settled.append(backend.settled(tile.queries.fetch(), tile.blocks[0].fetch(), self.wanted_of(tile)))
            kept, n_rows = compare_tile(tile, self.wanted_of(tile), settled[0], known)
            for kind, arrays in _parts_of(kept, tile.first_query, tile.first_row).items():
                storage.write(part_name(tile.name, kind), _packed(arrays))
            return len(kept.rows) * n_rows

        return compare

    def wanted_of(self, tile: Tile) -> QuerySpec:
        """What is asked of one tile."""
        return replace(self.wanted, query_offset=tile.query_offset, gallery_offset=tile.gallery_offset)


@dataclass(frozen=True)
class MergeParts(Task[Merge, str]):
    """Merges parts."""

    wanted: QuerySpec
    storage: str

    def __call__(self) -> Callable[[Merge], str]:
        storage = open_storage(self.storage)

        def merge(task: Merge) -> str:
            parts = [_unpacked(storage.read(name), name) for name in task.parts]
            storage.write(task.into, _packed(merging.MERGE[task.kind](parts, self.wanted)))
            return task.into

        return merge


class SharedState:
    """What a worker's earlier tiles found, in numbers of the whole sets: what a pair of a later one has to reach.

    Without it each tile begins anew, and more time is spent on pairs that are none of the best.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._overall: tuple[Ints, Ints, Floats] | None = None
        self._columns: tuple[Ints, Floats] | None = None
        self._stretch = -1

    def give(self, tile: Tile, kept: TopMatches) -> None:
        """Puts into an empty Kept of a tile what is known."""
        # A pair that was in a list twice would push another out.
        if tile.name in self._done:
            self._done, self._overall, self._columns = set(), None, None
        if self._overall is not None:
            query, row, score = self._overall
            kept.top_query, kept.top_row, kept.top_score = query - tile.first_query, row - tile.first_row, score.copy()
        if self._columns is not None and self._stretch == tile.first_row:
            query, score = self._columns
            kept.best_query, kept.best_query_score = query - tile.first_query, score.copy()

    def take(self, tile: Tile, kept: TopMatches) -> None:
        """Takes over what is known now."""
        self._done.add(tile.name)
        self._stretch = tile.first_row
        self._overall = (kept.top_query + tile.first_query, kept.top_row + tile.first_row, kept.top_score.copy())
        self._columns = (kept.best_query + tile.first_query, kept.best_query_score.copy())


def compare_tile(tile: Tile, wanted: QuerySpec, backend: Backend, known: SharedState) -> tuple[TopMatches, int]:
    """What a tile leaves, with rows and queries numbered from its first, and how many gallery rows it has. Best queries
    and best pairs may be those of earlier tiles, where none of this one is better."""
    queries: Vectors = tile.queries.fetch()
    n_rows = len(tile.gallery_offset)
    kept, start = TopMatches(len(queries), n_rows, wanted), 0
    known.give(tile, kept)
    for block in tile.blocks:
        gallery: Vectors = block.fetch()
        here = slice(start, start + len(gallery))
        part = TopMatches(len(queries), len(gallery), replace(wanted, gallery_offset=tile.gallery_offset[here]))
        # Rows of earlier blocks get numbers below zero: they stay the lower ones in every tie.
        part.rows, part.score = kept.rows - start, kept.score
        part.top_query, part.top_row, part.top_score = kept.top_query, kept.top_row - start, kept.top_score
        part.counts, part.n_pairs = kept.counts, kept.n_pairs
        if wanted.best_queries:
            part.best_query, part.best_query_score = kept.best_query[here], kept.best_query_score[here]
        backend.run(queries, gallery, part, lambda _: None, Checkpoint(None))
        kept.rows, kept.score = part.rows + start, part.score
        kept.top_query, kept.top_row, kept.top_score = part.top_query, part.top_row + start, part.top_score
        kept.counts = part.counts
        if wanted.best_queries:
            kept.best_query[here], kept.best_query_score[here] = part.best_query, part.best_query_score
        if wanted.threshold is not None:
            found = part.arrays()
            pairs = np.asarray(found["pairs"], np.int64)
            kept.take_pairs(pairs[:, 0], pairs[:, 1] + start, np.asarray(found["pairs_score"], np.float64))
        start = here.stop
    known.take(tile, kept)
    return kept, n_rows


@dataclass(frozen=True)
class DistributedBackend:
    """A backend whose tiles are compared by the workers of an engine, with another backend. What is small, and
    exact cosines of pairs, are left to ``here``."""

    engine: Engine
    backend: str
    here: Backend
    storage: str
    folder: str  # of the storage
    cut: TileSizes | None = None  # None: by the sizes
    fewest_pairs: int | None = None  # None: as above

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Takes into ``kept`` every pair that can matter. Raises EngineError when a tile ends every worker."""
        fewest = MIN_PAIRS if self.fewest_pairs is None else self.fewest_pairs
        if len(queries) * len(gallery) < fewest:
            self.here.run(queries, gallery, kept, progress, checkpoint)
            return
        cut = self.cut or TileSizes.of(len(queries))
        checkpoint = checkpoint.with_key(f"tiles {cut}")
        if (saved := checkpoint.load()) is not None:
            kept.restore(saved)
            progress(len(queries) * len(gallery))
            return
        # Without a key nothing is known to be the same the next time.
        folder = f"{self.folder}/{checkpoint.key[:24] if checkpoint.saves else uuid.uuid4().hex}"
        storage = open_storage(self.storage)
        there = storage.names(folder)
        panels, stretches = cut.panels(len(queries)), cut.stretches(len(gallery))
        wanted = replace(kept.wanted, query_offset=np.zeros(0), gallery_offset=np.zeros(0))
        job = CompareTiles(self.backend, wanted, self.storage)

        def finished(tile: Tile) -> None:
            progress(len(tile.query_offset) * len(tile.gallery_offset))

        names = {(p, s): tile_name(folder, p, s) for p in range(len(panels)) for s in range(len(stretches))}
        ready = {at for at, name in names.items() if all(part_name(name, kind) in there for kind in merging.MERGE)}
        if ready:
            progress(sum(_length(panels[p]) * _length(stretches[s]) for p, s in ready))
        tiles = self._tiles(queries, gallery, kept.wanted, cut, {at: names[at] for at in names if at not in ready})
        for done in self.engine.map("comparing", job, tiles, finished=finished):
            if isinstance(done, WorkerFailure):
                raise EngineError(
                    f"workers end as they compare ({done.reason}); have they less memory than "
                    "docs/how-to/cluster.md asks for? "
                    "What is finished is kept, run the same command again"
                )
        along = [[names[p, s] for s in range(len(stretches))] for p in range(len(panels))]
        down = [[names[p, s] for p in range(len(panels))] for s in range(len(stretches))]
        merge = partial(self._merged, storage=storage, wanted=wanted, there=there)
        for panel, arrays in zip(panels, merge("rows", along), strict=True):
            kept.rows[panel], kept.score[panel] = arrays["rows"], arrays["score"]
        if wanted.best_queries:
            for stretch, arrays in zip(stretches, merge("columns", down), strict=True):
                kept.best_query[stretch], kept.best_query_score[stretch] = arrays["best_query"], arrays["score"]
        (overall,) = merge("overall", [list(names.values())])
        merging.put_overall(kept, overall)
        kept.done = 1
        checkpoint.save(kept.arrays, done=True)
        storage.remove(folder)

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> DistributedBackend:
        """The same: nothing is decided by sampling."""
        return self

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return self.here.cosines(queries, gallery, q, g)

    def _tiles(
        self, queries: Vectors, gallery: Vectors, wanted: QuerySpec, cut: TileSizes, names: dict[tuple[int, int], str]
    ) -> Iterator[Tile]:
        """The tiles that have a name, stretch by stretch; blocks are shared for as long as their stretch is."""
        panels = cut.panels(len(queries))
        shared: dict[int, SharedArray] = {}
        for s, stretch in enumerate(cut.stretches(len(gallery))):
            blocks: tuple[SharedArray, ...] = ()
            for p, panel in enumerate(panels):
                if (p, s) not in names:
                    continue
                if p not in shared:
                    shared[p] = self.engine.share(np.ascontiguousarray(queries[panel]))
                if not blocks:
                    within = cut.within(stretch)
                    blocks = tuple(self.engine.share(np.ascontiguousarray(gallery[part])) for part in within)
                yield Tile(
                    names[p, s],
                    panel.start,
                    stretch.start,
                    shared[p],
                    blocks,
                    wanted.query_offset[panel],
                    wanted.gallery_offset[stretch],
                )

    def _merged(
        self, kind: Kind, groups: Sequence[Sequence[str]], *, storage: Storage, wanted: QuerySpec, there: set[str]
    ) -> Iterator[merging.Arrays]:
        """The parts of each group of tiles as one, over a tree."""
        level = [[part_name(name, kind) for name in group] for group in groups]
        while any(len(parts) > 1 for parts in level):
            tasks, following = [], []
            for parts in level:
                merges = [_merge(kind, tuple(parts[i : i + FAN_IN])) for i in range(0, len(parts), FAN_IN)]
                tasks += [m for m in merges if len(m.parts) > 1 and m.into not in there]
                following.append([m.into for m in merges])
            for done in self.engine.map("merging", MergeParts(wanted, self.storage), tasks):
                if isinstance(done, WorkerFailure):
                    raise EngineError(f"workers end as they merge ({done.reason}); have they memory enough?")
            level = following
        for (name,) in level:
            yield _unpacked(storage.read(name), name)


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def tile_name(folder: str, panel: int, stretch: int) -> str:
    """What a tile's parts begin with."""
    return f"{folder}/{panel:06d}-{stretch:06d}"


def part_name(tile: str, kind: str) -> str:
    """The name of one part of a tile."""
    return f"{tile}.{kind}.npz"


def _merge(kind: Kind, parts: tuple[str, ...]) -> Merge:
    if len(parts) == 1:
        return Merge(kind, parts, parts[0])
    folder = parts[0].rpartition("/")[0]
    seal = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Merge(kind, parts, f"{folder}/merged-{seal[:24]}.{kind}.npz")


def _parts_of(kept: TopMatches, first_query: int, first_row: int) -> dict[Kind, merging.Arrays]:
    """A tile's three parts, numbered in the whole sets."""
    arrays = kept.arrays()
    pairs = np.asarray(arrays["pairs"], np.int64) + np.array([first_query, first_row])
    filled = kept.top_score > -np.inf
    return {
        "rows": {"rows": np.where(kept.score > -np.inf, kept.rows + first_row, -1), "score": kept.score},
        "columns": {
            "best_query": np.where(kept.best_query_score > -np.inf, kept.best_query + first_query, -1),
            "score": kept.best_query_score,
        },
        "overall": {
            "query": kept.top_query[filled] + first_query,
            "row": kept.top_row[filled] + first_row,
            "score": kept.top_score[filled],
            "counts": kept.counts,
            "pairs": pairs,
            "pairs_score": np.asarray(arrays["pairs_score"]),
        },
    }


def _packed(arrays: merging.Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes | None, name: str) -> merging.Arrays:
    if data is None:
        raise StoreError(f"{name} is gone from the store; run the same command again to make it anew")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return dict(stored)
