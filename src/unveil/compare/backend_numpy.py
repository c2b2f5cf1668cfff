"""The NumPy backend: slow, exact, and the reference for every faster one.

A float32 matrix product finds candidates. Its distance from the exact cosine has a proven bound, whatever the order of
summation, so a threshold lowered by that bound lets through every pair that could belong to the result. Candidates are
re-scored by `exact_cosine`, and only those scores decide. The result therefore does not depend on BLAS, threads or
block sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.compare.error_bounds import UNIT_ROUNDOFF, gamma, rounded_down
from unveil.compare.exact import Float32s, UnitRows, exact_cosine
from unveil.compare.sizes import BackendSizes
from unveil.compare.topk import QuerySpec, TopMatches, one_by_one
from unveil.io.checkpoint import Checkpoint
from unveil.types import Floats, Ints

PANEL_ROWS, BLOCK_ROWS = 1024, 8192


@dataclass(frozen=True)
class NumpyBackend:
    """Compares panels of queries with blocks of the gallery, both in rows."""

    panel_rows: int = PANEL_ROWS
    block_rows: int = BLOCK_ROWS

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
            slack = error_bound(queries.shape[1], ranking.spec.max_offset)
            for panel in ranking.panels(self.panel_rows, part.with_key(f"numpy {self.panel_rows}"), advance):
                _compare_panel(queries, gallery, ranking, panel, self.block_rows, slack, advance)

    def tuned(self, queries: UnitRows, gallery: UnitRows, spec: QuerySpec) -> NumpyBackend:
        """The same backend: no choice depends on the data."""
        return self

    def cosines(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        return exact_cosine(queries, gallery, q, g)


def open_numpy(threads: int, sizes: BackendSizes) -> NumpyBackend:
    """The backend; BLAS chooses the number of threads."""
    return NumpyBackend(sizes.panel_rows or PANEL_ROWS, sizes.block_rows or BLOCK_ROWS)


def describe_numpy() -> str:
    """One line for ``unveil info``."""
    return "NumPy; slow, the reference for the others"


def error_bound(dimension: int, offsets: float) -> float:
    """The largest error of a float32 score of unit rows whose offsets add up to at most ``offsets`` in size.

    gamma_D for the dot product, and three more roundings for the offsets.
    """
    return 1.02 * gamma(dimension + 2) + 8 * UNIT_ROUNDOFF * (2 + offsets)


def _compare_panel(
    queries: UnitRows,
    gallery: UnitRows,
    matches: TopMatches,
    panel: slice,
    block_rows: int,
    slack: float,
    progress: Callable[[int], None],
) -> None:
    spec = matches.spec
    panel_queries = np.asarray(queries[panel], np.float32)
    offsets = spec.query_offset[panel].astype(np.float32)
    for start in range(0, len(gallery), block_rows):
        block = slice(start, min(start + block_rows, len(gallery)))
        rough = panel_queries @ np.asarray(gallery[block], np.float32).T
        rough += offsets[:, None]
        rough += spec.gallery_offset[block].astype(np.float32)[None]
        q, g = np.nonzero(_candidates(rough, matches, panel, block, slack))
        q, g = q + panel.start, g + block.start
        matches.add(q, g, exact_cosine(queries, gallery, q, g))
        progress(rough.size)


def _candidates(
    rough: Float32s, matches: TopMatches, panel: slice, block: slice, slack: float
) -> npt.NDArray[np.bool_]:
    """Which pairs of a block of rough scores (P, B) may belong to the result."""
    k, n_rows = matches.spec.top_k, rough.shape[1]
    per_query = np.full(len(rough), np.inf)
    if k:
        per_query = matches.score[panel, 0] - slack
        unknown = np.flatnonzero(np.isneginf(per_query))
        if len(unknown) and n_rows >= k:
            kth = np.partition(rough[unknown], n_rows - k, axis=1)[:, n_rows - k]
            per_query[unknown] = kth - 2 * slack
    overall = min(matches.spec.floor - slack, _top_pairs_floor(rough, matches, slack))
    candidates = rough >= rounded_down(np.minimum(per_query, overall))[:, None]
    if matches.spec.best_queries:
        per_row = np.maximum(matches.best_query_score[block] - slack, rough.max(axis=0) - 2 * slack)
        candidates |= rough >= rounded_down(per_row)[None]
    return candidates


def _top_pairs_floor(rough: Float32s, matches: TopMatches, slack: float) -> float:
    """The rough score below which no pair can be among the best pairs of all."""
    n = matches.spec.top_pairs
    if not n:
        return np.inf
    if np.isfinite(matches.top_score[0]):
        return float(matches.top_score[0]) - slack
    if rough.size < n:
        return -np.inf
    return float(np.partition(rough, rough.size - n, axis=None)[rough.size - n]) - 2 * slack
