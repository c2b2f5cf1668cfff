"""Comparison block by block with the matrix product of another library.

A block holds the rough scores of some gallery rows (its rows) and queries (its columns). Each `Multiplier` proves how
far its rough scores can be from the exact ones. If the maximum of a group of gallery rows cannot reach what is required
for a query, the whole group is skipped. The remaining pairs whose upper bound can reach it are scored exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np

from unveil.compare.exact import Float32s, PairScorer, UnitRows, exact_cosine
from unveil.compare.topk import Order, QuerySpec, TopMatches, one_by_one, worst_first
from unveil.engine import map_ordered
from unveil.io.checkpoint import Checkpoint
from unveil.types import Floats, Ints

Rows = TypeVar("Rows")
RowsIn = TypeVar("RowsIn", contravariant=True)
PANEL_ROWS, BLOCK_ROWS = 16384, 512
MAX_WAITING_PAIRS = 1 << 20


@dataclass(frozen=True)
class OffsetBounds:
    """What to add to a rough product, for each row or column of a block, to bound its score from below and above."""

    low: Float32s
    high: Float32s

    @classmethod
    def of(cls, offset: Floats, error: Floats | float) -> OffsetBounds:
        """From offsets (N,) and the error of the rough product on this side; rounded outwards."""
        low, high = (offset - error).astype(np.float32), (offset + error).astype(np.float32)
        return cls(np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf)))


class Block(Protocol):
    """Rough products (gallery rows, queries), in memory or on a device."""

    def best_of_queries(self, k: int) -> Float32s:
        """For each query a score that its k-th best pair of the block certainly reaches; -inf if there are fewer."""

    def best_of_rows(self) -> Float32s:
        """For each gallery row a score that its best pair of the block certainly reaches."""

    def best_overall(self, n: int) -> float:
        """A score that the n-th best pair of the block certainly reaches; -inf if there are fewer."""

    def reaching(self, row_floor: Float32s, query_floor: Float32s) -> tuple[Ints, Ints]:
        """Rows and queries of the pairs whose upper bound reaches the lower of their two floors."""


@dataclass(frozen=True)
class Survey:
    """Proven lower bounds of the best scores between some queries and the whole gallery."""

    queries: Float32s  # of each query's k-th best pair
    rows: list[Float32s]  # of each gallery row's best pair, by block; empty without ``best_rows``


class Panel(Protocol[RowsIn]):
    """Some queries, prepared for products; several threads use it at once."""

    def block(self, rows: RowsIn) -> Block:
        """The products with some gallery rows."""

    def survey(self, blocks: Iterable[RowsIn], top_k: int, best_rows: bool) -> Survey | None:
        """A first pass over the gallery, whose bounds save the second pass most exact scores.

        None if a second product takes longer than those exact scores.
        """


class Multiplier(Protocol[Rows]):
    """Computes rough products of unit rows and proves how large their error can be.

    To compare with another library, implement this and wrap it in a `BlockwiseBackend`.
    """

    @property
    def name(self) -> str:
        """Identifies the multiplier in the key of a checkpoint."""

    def panel(self, queries: UnitRows, offset: Floats) -> Panel[Rows]:
        """Prepares some queries."""

    def rows(self, gallery: UnitRows, offset: Floats) -> Rows:
        """Prepares some gallery rows, for every panel."""

    def cache_bytes(self) -> int:
        """How many bytes of stored gallery rows may stay prepared."""


@dataclass(frozen=True)
class BlockwiseBackend(Generic[Rows]):
    """Compares panels of queries with blocks of the gallery, both in rows, by a multiplier on some threads."""

    multiplier: Multiplier[Rows]
    threads: int
    panel_rows: int = PANEL_ROWS
    block_rows: int = BLOCK_ROWS
    score: PairScorer = exact_cosine
    order: Order = worst_first  # sorts the pairs that are merged into the lists

    def run(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        matches: Sequence[TopMatches],
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Adds to each of ``matches`` every pair that can belong to its result, in a pass for each."""
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
        spec = matches.spec
        fits = len(gallery) * gallery.shape[1] * gallery.itemsize <= self.multiplier.cache_bytes()
        load = _Loader(self.multiplier, gallery, spec.gallery_offset, self.block_rows, {} if fits else None)
        key = f"{self.multiplier.name} {self.panel_rows}"
        for panel in matches.panels(self.panel_rows, checkpoint.with_key(key), progress):
            prepared = self.multiplier.panel(queries[panel], spec.query_offset[panel])
            blocks = range(0, len(gallery), self.block_rows)
            survey = prepared.survey(map(load, blocks), spec.top_k, spec.best_queries) if fits else None
            search = partial(self._search, prepared, load, queries, gallery, matches, panel, survey)
            # The first block sets the floors for the others, which threads then search at the same time.
            found = chain([search(blocks[0])], map_ordered(search, blocks[1:], self.threads))
            waiting: list[tuple[Ints, Ints, Floats]] = []
            for start, pairs in zip(blocks, found, strict=True):
                waiting.append(pairs)
                # After a survey, earlier blocks no longer raise the floors, and sorting many pairs at once is faster.
                many = sum(len(q) for q, _, _ in waiting) >= MAX_WAITING_PAIRS
                if survey is None or many or start in (blocks[0], blocks[-1]):
                    q, g, cosine = (np.concatenate(part) for part in zip(*waiting, strict=True))
                    matches.add(q, g, cosine, self.order)
                    waiting = []
                progress((panel.stop - panel.start) * min(self.block_rows, len(gallery) - start))

    def _search(
        self,
        prepared: Panel[Rows],
        load: _Loader[Rows],
        queries: UnitRows,
        gallery: UnitRows,
        matches: TopMatches,
        panel: slice,
        survey: Survey | None,
        start: int,
    ) -> tuple[Ints, Ints, Floats]:
        """The pairs of one block that can belong to the result, with their exact cosines."""
        rows = slice(start, min(start + self.block_rows, len(gallery)))
        block = prepared.block(load(start))
        if survey is None:
            floors = _floors(block, matches, panel, rows)
        else:
            of_rows = survey.rows[start // self.block_rows] if survey.rows else None
            floors = _floors(block, matches, panel, rows, survey.queries, of_rows)
        g, q = block.reaching(*floors)
        q, g = q + panel.start, g + rows.start
        return q, g, self.score(queries, gallery, q, g)

    def tuned(self, queries: UnitRows, gallery: UnitRows, spec: QuerySpec) -> BlockwiseBackend[Rows]:
        """The same backend: no choice depends on the data."""
        return self

    def cosines(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return self.score(queries, gallery, q, g)


@dataclass(frozen=True)
class _Loader(Generic[Rows]):
    """Prepares blocks of ``size`` gallery rows; ``prepared`` stores them for the next panel."""

    multiplier: Multiplier[Rows]
    gallery: UnitRows
    offset: Floats
    size: int
    prepared: dict[int, Rows] | None

    def __call__(self, start: int) -> Rows:
        if self.prepared is not None and start in self.prepared:
            return self.prepared[start]
        rows = slice(start, start + self.size)
        made = self.multiplier.rows(self.gallery[rows], self.offset[rows])
        if self.prepared is not None:
            self.prepared[start] = made
        return made


def _floors(
    block: Block,
    matches: TopMatches,
    panel: slice,
    rows: slice,
    of_queries: Float32s | None = None,
    of_rows: Float32s | None = None,
) -> tuple[Float32s, Float32s]:
    """The score that a pair must reach to count for its gallery row, and the score for its query or any other list.

    ``of_queries`` and ``of_rows`` are the bounds of a survey. Without them, the block's own bounds are used.
    """
    n_queries, n_rows, spec = panel.stop - panel.start, rows.stop - rows.start, matches.spec
    overall = matches.floor
    if spec.top_pairs and np.isneginf(matches.top_score[0]):
        overall = min(spec.floor, block.best_overall(spec.top_pairs))
    query_floor = np.full(n_queries, overall)
    if spec.top_k:
        worst = matches.score[panel, 0]
        if of_queries is not None:
            worst = np.maximum(worst, of_queries)
        elif np.isneginf(worst).any():
            worst = np.maximum(worst, block.best_of_queries(spec.top_k))
        query_floor = np.minimum(query_floor, worst)
    row_floor = np.full(n_rows, np.inf)
    if spec.best_queries:
        row_floor = matches.best_query_score[rows]
        if of_rows is not None:
            row_floor = np.maximum(row_floor, of_rows)
        elif np.isneginf(row_floor).any():
            row_floor = np.maximum(row_floor, block.best_of_rows())
    return _narrow(row_floor), _narrow(query_floor)


def _narrow(floor: Floats) -> Float32s:
    return np.nextafter(floor.astype(np.float32), np.float32(-np.inf))
