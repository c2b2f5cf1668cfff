"""Comparison by the workers of an engine: all pairs as tiles, each a panel of queries against a span of the gallery.

A worker goes through its span block by block, and carries the scores that a pair must reach from one block to the next.
It writes the result of a tile to a storage in three parts, sealed with the user's key. Parts are merged over trees:
best rows along the gallery, best queries along the panels, the others over all tiles. A part that exists is not
computed again, so an interrupted comparison resumes; only with the user's key is the folder of its parts found again.
Names of parts identify their contents, and tile sizes depend on the sizes of the sets alone.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np

from unveil.compare import merging
from unveil.compare.backends import Backend, open_backend
from unveil.compare.exact import UnitRows
from unveil.compare.topk import QuerySpec, TopMatches, one_by_one
from unveil.engine import Engine, SharedArray, Task, WorkerFailure
from unveil.errors import StoreError
from unveil.io.checkpoint import Checkpoint
from unveil.io.storage import Storage, open_storage
from unveil.io.trust import StoreKey
from unveil.types import Floats, Ints

Part = Literal["rows", "columns", "overall"]
# Before the arrays of a part: its seal.
SEAL_CHARACTERS = 64


@dataclass(frozen=True)
class TileSizes:
    """How a comparison is divided into tiles, in rows; the result does not depend on it."""

    panel: int | None = None  # queries of a tile; None: so many that there are at least 16 panels of 2,048 queries
    block: int = 65_536  # gallery rows that a worker fetches at once
    blocks: int = 4  # blocks of a tile
    fan_in: int = 16  # parts that are merged at once
    min_pairs: int = 1_000_000_000  # fewer pairs are compared sooner in this process than they are sent away

    def for_queries(self, n: int) -> TileSizes:
        """The same sizes with the panel for ``n`` queries."""
        return self if self.panel is not None else replace(self, panel=min(self.block, max(2_048, -(-n // 16))))

    def panels(self, n: int) -> list[slice]:
        """The panels of ``n`` queries."""
        return _slices(0, n, self.panel or n)

    def spans(self, n: int) -> list[slice]:
        """The spans of ``n`` gallery rows."""
        return _slices(0, n, self.block * self.blocks)

    def blocks_of(self, span: slice) -> list[slice]:
        """The blocks of a span."""
        return _slices(span.start, span.stop, self.block)


def _slices(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


@dataclass(frozen=True)
class Tile:
    """A panel of queries and the blocks of a span of the gallery, with the numbers of their first rows and offsets."""

    name: str
    first_query: int
    first_row: int
    queries: SharedArray
    blocks: tuple[SharedArray, ...]
    query_offset: Floats
    gallery_offset: Floats


@dataclass(frozen=True)
class Merge:
    """Parts of one kind that become one part."""

    kind: Part
    parts: tuple[str, ...]
    into: str


@dataclass(frozen=True)
class CompareTiles(Task[Tile, int]):
    """Compares tiles with one backend on one thread, and writes their parts; returns the number of pairs of each."""

    backend: str
    spec: QuerySpec  # without offsets, which tiles bring
    storage: str
    key: StoreKey

    def __call__(self) -> Callable[[Tile], int]:
        backend, storage = open_backend(self.backend, 1), open_storage(self.storage, self.key)
        earlier = EarlierTiles()
        tuned: list[Backend] = []

        def compare(tile: Tile) -> int:
            spec = replace(self.spec, query_offset=tile.query_offset, gallery_offset=tile.gallery_offset)
            if not tuned:
                tuned.append(backend.tuned(tile.queries.fetch(), tile.blocks[0].fetch(), spec))
            matches, n_rows = compare_tile(tile, spec, tuned[0], earlier)
            for kind, arrays in _parts_of(matches, tile.first_query, tile.first_row).items():
                _write_part(storage, part_name(tile.name, kind), arrays)
            return len(matches.rows) * n_rows

        return compare


@dataclass(frozen=True)
class MergeParts(Task[Merge, str]):
    """Merges parts; returns the name of each result."""

    spec: QuerySpec
    storage: str
    key: StoreKey

    def __call__(self) -> Callable[[Merge], str]:
        storage = open_storage(self.storage, self.key)

        def merge(item: Merge) -> str:
            parts = [_read_part(storage, name) for name in item.parts]
            _write_part(storage, item.into, merging.MERGE[item.kind](parts, self.spec))
            return item.into

        return merge


class EarlierTiles:
    """The best pairs of a worker's earlier tiles, in numbers of the whole sets.

    A later tile starts with their scores as floors. Without them it would score many pairs that are not among the best.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._overall: tuple[Ints, Ints, Floats] | None = None
        self._columns: tuple[Ints, Floats] | None = None
        self._span = -1

    def start(self, tile: Tile, matches: TopMatches) -> None:
        """Adds the best pairs to the empty matches of a tile."""
        # After a repeated tile the lists hold pairs of it: added twice, such a pair would push out another.
        if tile.name in self._done:
            self._done, self._overall, self._columns = set(), None, None
        if self._overall is not None:
            query, row, score = self._overall
            matches.top_query, matches.top_row = query - tile.first_query, row - tile.first_row
            matches.top_score = score.copy()
        if self._columns is not None and self._span == tile.first_row:
            query, score = self._columns
            matches.best_query, matches.best_query_score = query - tile.first_query, score.copy()

    def update(self, tile: Tile, matches: TopMatches) -> None:
        """Remembers the best pairs after a tile."""
        self._done.add(tile.name)
        self._span = tile.first_row
        self._overall = (
            *(matches.top_query + tile.first_query, matches.top_row + tile.first_row),
            matches.top_score.copy(),
        )
        self._columns = (matches.best_query + tile.first_query, matches.best_query_score.copy())


def compare_tile(tile: Tile, spec: QuerySpec, backend: Backend, earlier: EarlierTiles) -> tuple[TopMatches, int]:
    """The matches of a tile, with queries and rows numbered from its first, and its number of gallery rows.

    Best queries and best pairs may be those of earlier tiles, where none of this one is better.
    """
    queries: UnitRows = tile.queries.fetch()
    n_rows = len(tile.gallery_offset)
    matches, start = TopMatches(len(queries), n_rows, spec), 0
    earlier.start(tile, matches)
    for shared in tile.blocks:
        gallery: UnitRows = shared.fetch()
        here = slice(start, start + len(gallery))
        part = TopMatches(len(queries), len(gallery), replace(spec, gallery_offset=tile.gallery_offset[here]))
        # Rows of earlier blocks get numbers below zero, so that they stay the lower ones in every tie.
        part.rows, part.score = matches.rows - start, matches.score
        part.top_query, part.top_row, part.top_score = matches.top_query, matches.top_row - start, matches.top_score
        part.counts, part.n_pairs = matches.counts, matches.n_pairs
        if spec.best_queries:
            part.best_query, part.best_query_score = matches.best_query[here], matches.best_query_score[here]
        backend.run(queries, gallery, [part], lambda _: None, Checkpoint(None))
        matches.rows, matches.score = part.rows + start, part.score
        matches.top_query, matches.top_row, matches.top_score = part.top_query, part.top_row + start, part.top_score
        matches.counts = part.counts
        if spec.best_queries:
            matches.best_query[here], matches.best_query_score[here] = part.best_query, part.best_query_score
        if spec.threshold is not None:
            found = part.arrays()
            pairs = np.asarray(found["pairs"], np.int64)
            matches.add_pairs(pairs[:, 0], pairs[:, 1] + start, np.asarray(found["pairs_score"], np.float64))
        start = here.stop
    earlier.update(tile, matches)
    return matches, n_rows


@dataclass(frozen=True)
class _Grid:
    """The tiles of one comparison: panels by spans, and the name of each."""

    panels: list[slice]
    spans: list[slice]
    names: dict[tuple[int, int], str]

    @classmethod
    def of(cls, sizes: TileSizes, n_queries: int, n_rows: int, folder: str) -> _Grid:
        panels, spans = sizes.panels(n_queries), sizes.spans(n_rows)
        names = {(p, s): tile_name(folder, p, s) for p in range(len(panels)) for s in range(len(spans))}
        return cls(panels, spans, names)

    def pairs(self, at: tuple[int, int]) -> int:
        """The number of pairs of one tile."""
        panel, span = self.panels[at[0]], self.spans[at[1]]
        return int((panel.stop - panel.start) * (span.stop - span.start))

    @property
    def rows(self) -> list[list[str]]:
        """The tiles of each panel, along the gallery."""
        return [[self.names[p, s] for s in range(len(self.spans))] for p in range(len(self.panels))]

    @property
    def columns(self) -> list[list[str]]:
        """The tiles of each span, along the queries."""
        return [[self.names[p, s] for p in range(len(self.panels))] for s in range(len(self.spans))]


@dataclass(frozen=True)
class DistributedBackend:
    """Compares tiles by the workers of an engine, with the backend of that name on each.

    ``local`` compares small sets and computes the exact cosines of single pairs. Parts lie in ``folder`` of the
    storage.
    """

    engine: Engine
    backend: str
    local: Backend
    storage: str
    folder: str
    sizes: TileSizes = field(default_factory=TileSizes)
    key: StoreKey = field(default_factory=StoreKey.own)

    def run(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        matches: Sequence[TopMatches],
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Adds to each of ``matches`` every pair that can belong to its result, in a pass for each.

        Raises EngineError when every worker that tries a tile ends.
        """
        if len(queries) * len(gallery) < self.sizes.min_pairs:
            self.local.run(queries, gallery, matches, progress, checkpoint)
            return
        for ranking, advance, part in one_by_one(matches, progress, checkpoint):
            self._rank(queries, gallery, ranking, advance, part)

    def _rank(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        matches: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        n_pairs = len(queries) * len(gallery)
        sizes = self.sizes.for_queries(len(queries))
        checkpoint = checkpoint.with_key(f"tiles {sizes.panel} {sizes.block} {sizes.blocks}")
        if (saved := checkpoint.load()) is not None:
            matches.restore(saved)
            progress(n_pairs)
            return
        # Without a key the comparison cannot be recognised the next time, so its parts are for this time alone.
        folder = f"{self.folder}/{self.key.seal(checkpoint.key)[:24] if checkpoint.saves else uuid.uuid4().hex}"
        storage = open_storage(self.storage, self.key)
        existing = storage.names(folder)
        grid = _Grid.of(sizes, len(queries), len(gallery), folder)
        spec = replace(matches.spec, query_offset=np.zeros(0), gallery_offset=np.zeros(0))
        self._compare(queries, gallery, matches.spec, spec, sizes, grid, existing, progress)
        merge = partial(self._merged, storage=storage, spec=spec, fan_in=sizes.fan_in, existing=existing)
        for panel, arrays in zip(grid.panels, merge("rows", grid.rows), strict=True):
            matches.rows[panel], matches.score[panel] = arrays["rows"], arrays["score"]
        if spec.best_queries:
            for span, arrays in zip(grid.spans, merge("columns", grid.columns), strict=True):
                matches.best_query[span], matches.best_query_score[span] = arrays["best_query"], arrays["score"]
        (overall,) = merge("overall", [list(grid.names.values())])
        merging.set_overall(matches, overall)
        matches.done = 1
        checkpoint.save(matches.arrays, done=True)
        storage.remove(folder)

    def tuned(self, queries: UnitRows, gallery: UnitRows, spec: QuerySpec) -> DistributedBackend:
        """The same backend: workers tune theirs."""
        return self

    def cosines(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return self.local.cosines(queries, gallery, q, g)

    def _compare(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        offsets: QuerySpec,
        spec: QuerySpec,
        sizes: TileSizes,
        grid: _Grid,
        existing: set[str],
        progress: Callable[[int], None],
    ) -> None:
        """Has every tile compared whose parts do not exist."""

        def finished(tile: Tile) -> None:
            progress(len(tile.query_offset) * len(tile.gallery_offset))

        parts = {at: {part_name(name, kind) for kind in merging.MERGE} for at, name in grid.names.items()}
        done = {at for at, names in parts.items() if names <= existing}
        if done:
            progress(sum(grid.pairs(at) for at in done))
        tiles = self._tiles(queries, gallery, offsets, sizes, grid, done)
        task = CompareTiles(self.backend, spec, self.storage, self.key)
        for result in self.engine.map("comparing", task, tiles, finished=finished):
            if isinstance(result, WorkerFailure):
                raise result.error("comparing")

    def _tiles(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        offsets: QuerySpec,
        sizes: TileSizes,
        grid: _Grid,
        done: set[tuple[int, int]],
    ) -> Iterator[Tile]:
        """The tiles that are not done, span by span; blocks stay shared while their span is in use."""
        shared: dict[int, SharedArray] = {}
        for s, span in enumerate(grid.spans):
            blocks: tuple[SharedArray, ...] = ()
            for p, panel in enumerate(grid.panels):
                if (p, s) in done:
                    continue
                if p not in shared:
                    shared[p] = self.engine.share(np.ascontiguousarray(queries[panel]))
                if not blocks:
                    within = sizes.blocks_of(span)
                    blocks = tuple(self.engine.share(np.ascontiguousarray(gallery[part])) for part in within)
                yield Tile(
                    grid.names[p, s],
                    panel.start,
                    span.start,
                    shared[p],
                    blocks,
                    offsets.query_offset[panel],
                    offsets.gallery_offset[span],
                )

    def _merged(
        self,
        kind: Part,
        groups: Sequence[Sequence[str]],
        *,
        storage: Storage,
        spec: QuerySpec,
        fan_in: int,
        existing: set[str],
    ) -> Iterator[merging.Arrays]:
        """The parts of each group of tiles as one, merged over a tree."""
        level = [[part_name(name, kind) for name in group] for group in groups]
        while any(len(parts) > 1 for parts in level):
            items, following = [], []
            for parts in level:
                merges = [_merge(kind, tuple(parts[i : i + fan_in])) for i in range(0, len(parts), fan_in)]
                items += [m for m in merges if len(m.parts) > 1 and m.into not in existing]
                following.append([m.into for m in merges])
            for result in self.engine.map("merging", MergeParts(spec, self.storage, self.key), items):
                if isinstance(result, WorkerFailure):
                    raise result.error("merging")
            level = following
        for (name,) in level:
            yield _read_part(storage, name)


def tile_name(folder: str, panel: int, span: int) -> str:
    """The name that the parts of a tile begin with."""
    return f"{folder}/{panel:06d}-{span:06d}"


def part_name(tile: str, kind: str) -> str:
    """The name of one part of a tile."""
    return f"{tile}.{kind}.npz"


def _merge(kind: Part, parts: tuple[str, ...]) -> Merge:
    if len(parts) == 1:
        return Merge(kind, parts, parts[0])
    folder = parts[0].rpartition("/")[0]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Merge(kind, parts, f"{folder}/merged-{digest[:24]}.{kind}.npz")


def _parts_of(matches: TopMatches, first_query: int, first_row: int) -> dict[Part, merging.Arrays]:
    """A tile's three parts, in numbers of the whole sets."""
    arrays = matches.arrays()
    pairs = np.asarray(arrays["pairs"], np.int64) + np.array([first_query, first_row])
    filled = matches.top_score > -np.inf
    return {
        "rows": {"rows": np.where(matches.score > -np.inf, matches.rows + first_row, -1), "score": matches.score},
        "columns": {
            "best_query": np.where(matches.best_query_score > -np.inf, matches.best_query + first_query, -1),
            "score": matches.best_query_score,
        },
        "overall": {
            "query": matches.top_query[filled] + first_query,
            "row": matches.top_row[filled] + first_row,
            "score": matches.top_score[filled],
            "counts": matches.counts,
            "pairs": pairs,
            "pairs_score": np.asarray(arrays["pairs_score"]),
        },
    }


def _write_part(storage: Storage, name: str, arrays: merging.Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    storage.write(name, storage.key.seal(name, data).encode() + data)


def _read_part(storage: Storage, name: str) -> merging.Arrays:
    stored = storage.read(name)
    if stored is None:
        raise StoreError(f"{name} no longer exists in the store; run the same command again")
    seal, data = stored[:SEAL_CHARACTERS], stored[SEAL_CHARACTERS:]
    if not storage.key.accepts(seal.decode("latin-1"), name, data):
        raise StoreError(
            f"{storage.where}/{name}: expected a part of this comparison, found a damaged one or another user's. "
            "Remove its folder, and run the same command again"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
