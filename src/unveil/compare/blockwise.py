"""Comparison on somebody else's matrix product: whole blocks of rough scores, of which maxima of groups are looked at.

A block holds the rough scores of some gallery rows (its rows) and queries (its columns). The best of each group of
gallery rows tells, for one query, whether any of them can matter; only those groups are opened, and only pairs whose
upper bound reaches what is still wanted are scored exactly. What a rough score can be off by is proven by whoever
multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unveil.compare.exact import exact_cosine
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.engine import map_ordered
from unveil.io.checkpoint import Checkpoint
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]
Thin = npt.NDArray[np.float32]
Rows = TypeVar("Rows")
Given = TypeVar("Given", contravariant=True)
MAX_WAITING_PAIRS = 1 << 20


@dataclass(frozen=True)
class QuantisedSide:
    """What is added to a rough product for the rows or columns of a block, to bound its score from below and above."""

    low: Thin
    high: Thin

    @classmethod
    def of(cls, offset: Floats, error: Floats | float) -> QuantisedSide:
        """From offsets and from what the rough product can be off by on this side; rounded outwards."""
        low, high = (offset - error).astype(np.float32), (offset + error).astype(np.float32)
        return cls(np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf)))


class Block(Protocol):
    """Rough products (gallery rows, queries), wherever they are."""

    def best_of_queries(self, k: int) -> Thin:
        """For each query a score that its k-th best pair of the block surely reaches; -inf if there are fewer."""

    def best_of_rows(self) -> Thin:
        """For each gallery row a score that its best pair of the block surely reaches."""

    def best_overall(self, n: int) -> float:
        """A score that the n-th best pair of the block surely reaches; -inf if there are fewer."""

    def reaching(self, row_floor: Thin, query_floor: Thin) -> tuple[Ints, Ints]:
        """Rows and queries of the pairs whose upper bound reaches the lower of their two floors."""


@dataclass(frozen=True)
class Survey:
    """Proven lower bounds of the best scores between some queries and the whole gallery."""

    queries: Thin  # of each query's k-th best pair
    rows: list[Thin]  # of each gallery row's best pair, by block; empty without ``best_rows``


class Panel(Protocol[Given]):
    """Some queries, ready to be multiplied; used by several threads at once."""

    def block(self, rows: Given) -> Block:
        """The products with some gallery rows."""

    def survey(self, blocks: Iterable[Given], top_k: int, best_rows: bool) -> Survey | None:
        """A first pass over the gallery: it finds the bounds that spare the second pass most exact scores.

        None if a second product costs more than those exact scores.
        """


class Multiplier(Protocol[Rows]):
    """Makes rough products of unit rows and proves what they can be off by."""

    @property
    def name(self) -> str:
        """Stands on checkpoints."""

    def panel(self, queries: Vectors, offset: Floats) -> Panel[Rows]:
        """Some queries, made ready."""

    def rows(self, gallery: Vectors, offset: Floats) -> Rows:
        """Some gallery rows, made ready for every panel."""

    def room(self) -> int:
        """How many bytes of gallery rows, as they are stored, may be kept ready."""


@dataclass(frozen=True)
class BlockwiseBackend(Generic[Rows]):
    """Compares panels of queries with blocks of the gallery by some multiplier."""

    multiplier: Multiplier[Rows]
    threads: int
    panel_rows: int = 16384
    block_rows: int = 512
    score: Callable[[Vectors, Vectors, Ints, Ints], Floats] = exact_cosine

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Takes into ``kept`` every pair that can matter."""
        wanted = kept.wanted
        keep = len(gallery) * gallery.shape[1] * gallery.itemsize <= self.multiplier.room()
        load = _Loader(self.multiplier, gallery, wanted.gallery_offset, self.block_rows, {} if keep else None)
        key = f"{self.multiplier.name} {self.panel_rows}"
        for panel in kept.panels(self.panel_rows, checkpoint.with_key(key), progress):
            multiplied = self.multiplier.panel(queries[panel], wanted.query_offset[panel])
            blocks = range(0, len(gallery), self.block_rows)
            survey = multiplied.survey(map(load, blocks), wanted.top_k, wanted.best_queries) if keep else None
            search = partial(self._search, multiplied, load, queries, gallery, kept, panel, survey)
            # The first block tells what the others need to reach; they are looked at side by side.
            found = chain([search(blocks[0])], map_ordered(search, blocks[1:], self.threads))
            waiting: list[tuple[Ints, Ints, Floats]] = []
            for start, pairs in zip(blocks, found, strict=True):
                waiting.append(pairs)
                # After a survey, earlier blocks no longer raise the bounds, and sorting many pairs at once is faster.
                many = sum(len(q) for q, _, _ in waiting) >= MAX_WAITING_PAIRS
                if survey is None or many or start in (blocks[0], blocks[-1]):
                    kept.take(*(np.concatenate(part) for part in zip(*waiting, strict=True)))
                    waiting = []
                progress((panel.stop - panel.start) * min(self.block_rows, len(gallery) - start))

    def _search(
        self,
        multiplied: Panel[Rows],
        load: _Loader[Rows],
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        panel: slice,
        survey: Survey | None,
        start: int,
    ) -> tuple[Ints, Ints, Floats]:
        """The pairs of one block that can matter, with their exact cosines."""
        rows = slice(start, min(start + self.block_rows, len(gallery)))
        block = multiplied.block(load(start))
        if survey is None:
            floors = _floors(block, kept, panel, rows)
        else:
            best_row = survey.rows[start // self.block_rows] if survey.rows else None
            floors = _floors(block, kept, panel, rows, survey.queries, best_row)
        g, q = block.reaching(*floors)
        q, g = q + panel.start, g + rows.start
        return q, g, self.score(queries, gallery, q, g)

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> BlockwiseBackend[Rows]:
        """The same: nothing is decided by sampling."""
        return self

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return self.score(queries, gallery, q, g)


@dataclass(frozen=True)
class _Loader(Generic[Rows]):
    """Prepares blocks of gallery rows; ``ready`` stores them for the next panel."""

    multiplier: Multiplier[Rows]
    gallery: Vectors
    offset: Floats
    size: int
    ready: dict[int, Rows] | None

    def __call__(self, start: int) -> Rows:
        if self.ready is not None and start in self.ready:
            return self.ready[start]
        rows = slice(start, start + self.size)
        made = self.multiplier.rows(self.gallery[rows], self.offset[rows])
        if self.ready is not None:
            self.ready[start] = made
        return made


def _floors(
    block: Block,
    kept: TopMatches,
    panel: slice,
    rows: slice,
    of_queries: Thin | None = None,
    of_rows: Thin | None = None,
) -> tuple[Thin, Thin]:
    """What a pair must reach for its gallery row, and for its query or for any reason.

    ``of_queries`` and ``of_rows`` are the bounds of a survey. Without them, the block's own bounds are used.
    """
    n_queries, n_rows, wanted = panel.stop - panel.start, rows.stop - rows.start, kept.wanted
    everywhere = kept.everywhere
    if wanted.top_pairs and np.isneginf(kept.top_score[0]):
        everywhere = min(wanted.everywhere, block.best_overall(wanted.top_pairs))
    query_floor = np.full(n_queries, everywhere)
    if wanted.top_k:
        known = kept.score[panel, 0]
        if of_queries is not None:
            known = np.maximum(known, of_queries)
        elif np.isneginf(known).any():
            known = np.maximum(known, block.best_of_queries(wanted.top_k))
        query_floor = np.minimum(query_floor, known)
    row_floor = np.full(n_rows, np.inf)
    if wanted.best_queries:
        row_floor = kept.best_query_score[rows]
        if of_rows is not None:
            row_floor = np.maximum(row_floor, of_rows)
        elif np.isneginf(row_floor).any():
            row_floor = np.maximum(row_floor, block.best_of_rows())
    return _narrow(row_floor), _narrow(query_floor)


def _narrow(floor: Floats) -> Thin:
    return np.nextafter(floor.astype(np.float32), np.float32(-np.inf))
