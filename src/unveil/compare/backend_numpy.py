"""The reference backend: blocked NumPy. Slow beside a kernel, exact, and the contract for every faster one.

A float32 matrix product finds candidates: whatever its order of summation, it strays from the exact cosine by no more
than a proven bound, so every pair that could matter passes a threshold lowered by that bound. Candidates are re-scored
by `exact_cosine`; only those scores decide. The result therefore does not depend on BLAS, threads or block sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.compare.error_bounds import UNIT_ROUNDOFF, below, gamma
from unveil.compare.exact import exact_cosine
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.io.checkpoint import Checkpoint
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]

QUERY_PANEL, GALLERY_BLOCK = 1024, 8192


@dataclass(frozen=True)
class NumpyBackend:
    """Compares panel by panel of queries."""

    query_panel: int = QUERY_PANEL
    gallery_block: int = GALLERY_BLOCK

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Takes into ``kept`` every pair that can matter."""
        slack = error_bound(queries.shape[1], kept.wanted.reach)
        for panel in kept.panels(self.query_panel, checkpoint.with_key(f"numpy {self.query_panel}"), progress):
            _compare_panel(queries, gallery, kept, panel, self.gallery_block, slack, progress)

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> NumpyBackend:
        """The same: nothing is decided by sampling."""
        return self

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return exact_cosine(queries, gallery, q, g)


def error_bound(dimension: int, offsets: float) -> float:
    """How far a float32 score may stray from the exact one, for unit rows and offsets of at most this size together.

    gamma_D for the dot product, and three more roundings for the offsets.
    """
    return 1.02 * gamma(dimension + 2) + 8 * UNIT_ROUNDOFF * (2 + offsets)


def _compare_panel(
    queries: Vectors,
    gallery: Vectors,
    kept: TopMatches,
    panel: slice,
    gallery_block: int,
    slack: float,
    progress: Callable[[int], None],
) -> None:
    wanted = kept.wanted
    panel_queries = np.asarray(queries[panel], np.float32)
    offsets = wanted.query_offset[panel].astype(np.float32)
    for start in range(0, len(gallery), gallery_block):
        block = slice(start, min(start + gallery_block, len(gallery)))
        rough = panel_queries @ np.asarray(gallery[block], np.float32).T
        rough += offsets[:, None]
        rough += wanted.gallery_offset[block].astype(np.float32)[None]
        q, g = np.nonzero(_may_matter(rough, kept, panel, block, slack))
        q, g = q + panel.start, g + block.start
        kept.take(q, g, exact_cosine(queries, gallery, q, g))
        progress(rough.size)


def _may_matter(
    rough: npt.NDArray[np.float32], kept: TopMatches, panel: slice, block: slice, slack: float
) -> npt.NDArray[np.bool_]:
    """Which pairs of a block of rough scores may belong into the result."""
    k, n_rows = kept.wanted.top_k, rough.shape[1]
    per_query = np.full(len(rough), np.inf)
    if k:
        per_query = kept.score[panel, 0] - slack
        unknown = np.flatnonzero(np.isneginf(per_query))
        if len(unknown) and n_rows >= k:
            kth = np.partition(rough[unknown], n_rows - k, axis=1)[:, n_rows - k]
            per_query[unknown] = kth - 2 * slack
    everywhere = min(kept.wanted.everywhere - slack, _rising(rough, kept, slack))
    wanted = rough >= below(np.minimum(per_query, everywhere))[:, None]
    if kept.wanted.best_queries:
        per_row = np.maximum(kept.best_query_score[block] - slack, rough.max(axis=0) - 2 * slack)
        wanted |= rough >= below(per_row)[None]
    return wanted


def _rising(rough: npt.NDArray[np.float32], kept: TopMatches, slack: float) -> float:
    """A rough score below which no pair can be among the best of all."""
    n = kept.wanted.top_pairs
    if not n:
        return np.inf
    if np.isfinite(kept.top_score[0]):
        return float(kept.top_score[0]) - slack
    if rough.size < n:
        return -np.inf
    return float(np.partition(rough, rough.size - n, axis=None)[rough.size - n]) - 2 * slack
