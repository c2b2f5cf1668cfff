"""Comparison on somebody else's matrix product: whole blocks of rough scores, of which maxima of groups are looked at.

A block holds the rough scores of some gallery rows (its rows) and queries (its columns). The best of each group of
gallery rows tells, for one query, whether any of them can matter; only those groups are opened, and only pairs whose
upper bound reaches what is still wanted are scored exactly. What a rough score can be off by is proven by whoever
multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Panel(Protocol[Given]):
    """Some queries, ready to be multiplied; used by several threads at once."""

    def block(self, rows: Given) -> Block:
        """The products with some gallery rows."""


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
        ready: dict[int, Rows] = {}
        keep = len(gallery) * gallery.shape[1] * gallery.itemsize <= self.multiplier.room()
        key = f"{self.multiplier.name} {self.panel_rows}"
        for panel in kept.panels(self.panel_rows, checkpoint.with_key(key), progress):
            multiplied = self.multiplier.panel(queries[panel], kept.wanted.query_offset[panel])
            search = partial(self._search, multiplied, queries, gallery, kept, panel, ready if keep else None)
            blocks = range(0, len(gallery), self.block_rows)
            # The first block tells what the others need to reach; they are looked at side by side.
            found = chain([search(blocks[0])], map_ordered(search, blocks[1:], self.threads))
            for start, (q, g, cosine) in zip(blocks, found, strict=True):
                kept.take(q, g, cosine)
                progress((panel.stop - panel.start) * min(self.block_rows, len(gallery) - start))

    def _search(
        self,
        multiplied: Panel[Rows],
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        panel: slice,
        ready: dict[int, Rows] | None,
        start: int,
    ) -> tuple[Ints, Ints, Floats]:
        """The pairs of one block that can matter, with their exact cosines."""
        rows = slice(start, min(start + self.block_rows, len(gallery)))
        known = None if ready is None else ready.get(start)
        if known is None:
            known = self.multiplier.rows(gallery[rows], kept.wanted.gallery_offset[rows])
        if ready is not None:
            ready[start] = known
        block = multiplied.block(known)
        g, q = block.reaching(*_floors(block, kept, panel, rows))
        q, g = q + panel.start, g + rows.start
        return q, g, self.score(queries, gallery, q, g)

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> BlockwiseBackend[Rows]:
        """The same: nothing is decided by sampling."""
        return self

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return self.score(queries, gallery, q, g)


def _floors(block: Block, kept: TopMatches, panel: slice, rows: slice) -> tuple[Thin, Thin]:
    """What a pair must reach for its gallery row, and for its query or for any reason."""
    n_queries, n_rows, wanted = panel.stop - panel.start, rows.stop - rows.start, kept.wanted
    everywhere = kept.everywhere
    if wanted.top_pairs and np.isneginf(kept.top_score[0]):
        everywhere = min(wanted.everywhere, block.best_overall(wanted.top_pairs))
    query_floor = np.full(n_queries, everywhere)
    if wanted.top_k:
        known = kept.score[panel, 0]
        if np.isneginf(known).any():
            known = np.maximum(known, block.best_of_queries(wanted.top_k))
        query_floor = np.minimum(query_floor, known)
    row_floor = np.full(n_rows, np.inf)
    if wanted.best_queries:
        row_floor = kept.best_query_score[rows]
        if np.isneginf(row_floor).any():
            row_floor = np.maximum(row_floor, block.best_of_rows())
    return _narrow(row_floor), _narrow(query_floor)


def _narrow(floor: Floats) -> Thin:
    return np.nextafter(floor.astype(np.float32), np.float32(-np.inf))
