"""The reference engine: blocked NumPy. Slow beside a kernel, exact, and the contract for every faster one.

A float32 matrix product finds candidates: whatever its order of summation, it strays from the exact cosine by no more
than a proven bound, so every pair that could matter passes a threshold lowered by that bound. Candidates are re-scored
by `exact_cosine`; only those scores decide. The result therefore does not depend on BLAS, threads or block sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.compare.checkpoint import Checkpoint
from unveil.compare.exact import exact_cosine
from unveil.errors import SettingError
from unveil.types import Floats, Ints, Matches

Vectors = npt.NDArray[np.floating]

QUERY_PANEL, GALLERY_BLOCK = 1024, 8192
MOMENT_ROWS = 4096
UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class Settings:
    """What a comparison keeps; sizes are already limited to what there is."""

    top_k: int
    top_pairs: int
    threshold: float | None
    query_offset: Floats
    gallery_offset: Floats
    max_pairs: int
    query_panel: int = QUERY_PANEL
    gallery_block: int = GALLERY_BLOCK


def run(
    queries: Vectors,
    gallery: Vectors,
    settings: Settings,
    progress: Callable[[int], None],
    checkpoint: Checkpoint | None,
) -> Matches:
    """The comparison of `compare_all`, for checked input."""
    state = _State(queries, gallery, settings)
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        state.restore(saved)
        progress(state.done * len(gallery))
    while state.done < len(queries):
        panel = slice(state.done, min(state.done + settings.query_panel, len(queries)))
        state.compare_panel(panel, progress)
        if checkpoint is not None:
            checkpoint.save(state.arrays(), done=state.done == len(queries))
    mean, variance = moments(queries, gallery)
    return state.matches(mean, variance)


def error_bound(dimension: int, offsets: float) -> float:
    """How far a float32 score may stray from the exact one, for unit rows and offsets of at most this size together.

    gamma_D = D u / (1 - D u) for a dot product in any order of summation (Higham 2002, section 3.1,
    doi:10.1137/1.9780898718027), and three more roundings for the offsets.
    """
    drift = (dimension + 2) * UNIT_ROUNDOFF
    return 1.02 * drift / (1 - drift) + 8 * UNIT_ROUNDOFF * (2 + offsets)


class _State:
    """What is known after the query rows below ``done``."""

    def __init__(self, queries: Vectors, gallery: Vectors, settings: Settings) -> None:
        self._queries, self._gallery, self._settings = queries, gallery, settings
        q, g = len(queries), len(gallery)
        reach = max(np.abs(settings.query_offset).max(initial=0), 0) + np.abs(settings.gallery_offset).max(initial=0)
        self._slack = error_bound(queries.shape[1], float(reach))
        self.done = 0
        self.rows = np.full((q, settings.top_k), -1, np.int64)
        self.score = np.full((q, settings.top_k), -np.inf)
        self.best_query = np.full(g, -1, np.int64)
        self.best_query_score = np.full(g, -np.inf)
        self.top = np.zeros((0, 2), np.int64)
        self.top_score = np.zeros(0)
        self.pairs = [np.zeros((0, 2), np.int64)]
        self.pairs_score = [np.zeros(0)]
        self.n_pairs = 0

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {
            "done": np.array(self.done),
            "rows": self.rows,
            "score": self.score,
            "best_query": self.best_query,
            "best_query_score": self.best_query_score,
            "top": self.top,
            "top_score": self.top_score,
            "pairs": np.concatenate(self.pairs),
            "pairs_score": np.concatenate(self.pairs_score),
        }

    def restore(self, saved: dict[str, npt.NDArray[np.generic]]) -> None:
        self.done = int(saved["done"].item())
        for name in ("rows", "score", "best_query", "best_query_score", "top", "top_score"):
            setattr(self, name, saved[name])
        self.pairs = [saved["pairs"].astype(np.int64)]
        self.pairs_score = [saved["pairs_score"].astype(np.float64)]
        self.n_pairs = len(self.pairs[0])

    def compare_panel(self, panel: slice, progress: Callable[[int], None]) -> None:
        """All gallery rows against the queries of one panel."""
        settings = self._settings
        block_queries = np.asarray(self._queries[panel], np.float32)
        offsets = settings.query_offset[panel].astype(np.float32)
        for start in range(0, len(self._gallery), settings.gallery_block):
            block = slice(start, min(start + settings.gallery_block, len(self._gallery)))
            rough = block_queries @ np.asarray(self._gallery[block], np.float32).T
            rough += offsets[:, None]
            rough += settings.gallery_offset[block].astype(np.float32)[None]
            self._absorb(rough, panel.start, start)
            progress(rough.size)
        self.done = panel.stop

    def _absorb(self, rough: npt.NDArray[np.float32], first_query: int, first_row: int) -> None:
        """Takes from a block of rough scores every pair that may belong into the result."""
        n_queries, n_rows = rough.shape
        k = self._settings.top_k
        panel = slice(first_query, first_query + n_queries)
        block = slice(first_row, first_row + n_rows)

        per_query = self.score[panel, k - 1] - self._slack
        unknown = np.flatnonzero(np.isneginf(per_query))
        if len(unknown) and n_rows >= k:
            kth = np.partition(rough[unknown], n_rows - k, axis=1)[:, n_rows - k]
            per_query[unknown] = kth - 2 * self._slack
        per_row = np.maximum(self.best_query_score[block] - self._slack, rough.max(axis=0) - 2 * self._slack)
        everywhere = np.inf
        if self._settings.top_pairs:
            everywhere = self._rising_threshold(rough)
        if self._settings.threshold is not None:
            everywhere = min(everywhere, self._settings.threshold - self._slack)

        wanted = rough >= np.minimum(_below(per_query), np.float32(_below_scalar(everywhere)))[:, None]
        wanted |= rough >= _below(per_row)[None]
        q, g = np.nonzero(wanted)
        q, g = q + first_query, g + first_row
        cosine = exact_cosine(self._queries, self._gallery, q, g)
        score = cosine + self._settings.query_offset[q] + self._settings.gallery_offset[g]
        self._merge_queries(panel, q, g, score)
        self._merge_rows(q, g, score)
        self._merge_pairs(q, g, score)

    def _rising_threshold(self, rough: npt.NDArray[np.float32]) -> float:
        """A rough score below which no pair can be among the best of all."""
        wanted = self._settings.top_pairs
        if len(self.top_score) == wanted:
            return float(self.top_score[-1]) - self._slack
        if rough.size < wanted:
            return -np.inf
        return float(np.partition(rough, rough.size - wanted, axis=None)[rough.size - wanted]) - 2 * self._slack

    def _merge_queries(self, panel: slice, q: Ints, g: Ints, score: Floats) -> None:
        k = self._settings.top_k
        n = panel.stop - panel.start
        all_q = np.concatenate([np.repeat(np.arange(panel.start, panel.stop), k), q])
        all_g = np.concatenate([self.rows[panel].ravel(), g])
        all_score = np.concatenate([self.score[panel].ravel(), score])
        # Places not yet filled sort behind every real pair.
        order = np.lexsort((np.where(all_g < 0, np.iinfo(np.int64).max, all_g), -all_score, all_q))
        starts = np.searchsorted(all_q[order], np.arange(panel.start, panel.stop))
        kept = order[(starts[:, None] + np.arange(k)[None]).ravel()]
        self.rows[panel] = all_g[kept].reshape(n, k)
        self.score[panel] = all_score[kept].reshape(n, k)

    def _merge_rows(self, q: Ints, g: Ints, score: Floats) -> None:
        order = np.lexsort((q, -score, g))
        first = order[np.unique(g[order], return_index=True)[1]]
        q, g, score = q[first], g[first], score[first]
        # Queries come in ascending order, so an equal score never displaces an earlier query.
        better = score > self.best_query_score[g]
        self.best_query[g[better]] = q[better]
        self.best_query_score[g[better]] = score[better]

    def _merge_pairs(self, q: Ints, g: Ints, score: Floats) -> None:
        settings = self._settings
        found = np.column_stack([q, g])
        if settings.top_pairs:
            pairs, scores = np.concatenate([self.top, found]), np.concatenate([self.top_score, score])
            order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores))[: settings.top_pairs]
            self.top, self.top_score = pairs[order], scores[order]
        if settings.threshold is not None:
            reached = score >= settings.threshold
            self.pairs.append(found[reached])
            self.pairs_score.append(score[reached])
            self.n_pairs += int(reached.sum())
            if self.n_pairs > settings.max_pairs:
                raise SettingError(
                    f"more than {settings.max_pairs} pairs score at least {settings.threshold:g}: "
                    "raise the threshold, or max_pairs if there is memory for them"
                )

    def matches(self, mean: float, variance: float) -> Matches:
        settings, q, g = self._settings, len(self._queries), len(self._gallery)
        rows_q = np.repeat(np.arange(q), settings.top_k)
        cosine = exact_cosine(self._queries, self._gallery, rows_q, self.rows.ravel()).reshape(self.rows.shape)
        known = np.flatnonzero(self.best_query >= 0)
        best_cosine = np.full(g, -np.inf)
        best_cosine[known] = exact_cosine(self._queries, self._gallery, self.best_query[known], known)
        pairs = scores = None
        if settings.threshold is not None:
            pairs, scores = np.concatenate(self.pairs), np.concatenate(self.pairs_score)
            order = np.lexsort((pairs[:, 1], pairs[:, 0]))
            pairs, scores = pairs[order], scores[order]
        return Matches(
            rows=self.rows,
            cosine=cosine,
            score=self.score,
            best_query=self.best_query,
            best_query_cosine=best_cosine,
            best_query_score=self.best_query_score,
            top_pairs=self.top,
            top_pairs_cosine=exact_cosine(self._queries, self._gallery, self.top[:, 0], self.top[:, 1]),
            top_pairs_score=self.top_score,
            pairs=pairs,
            pairs_score=scores,
            mean=mean,
            variance=variance,
            n_compared=q * g,
        )


def _below(values: Floats) -> npt.NDArray[np.float32]:
    """float32 values not above the float64 ones, so that rounding never hides a candidate."""
    narrow = values.astype(np.float32)
    return np.where(narrow > values, np.nextafter(narrow, np.float32(-np.inf)), narrow)


def _below_scalar(value: float) -> float:
    return float(_below(np.array([value]))[0])


def moments(queries: Vectors, gallery: Vectors) -> tuple[float, float]:
    """Mean and variance of the cosines of all pairs, in closed form: mu_x . mu_y and <X'X, Y'Y> / (Q G) - mean^2.

    Rounded to ten digits: the last ones depend on the BLAS library.
    """
    if not len(queries) or not len(gallery):
        return 0.0, 0.0
    (mean_q, gram_q), (mean_g, gram_g) = _mean_and_gram(queries), _mean_and_gram(gallery)
    mean = float(mean_q @ mean_g)
    variance = max(0.0, float((gram_q * gram_g).sum()) - mean**2)
    return float(f"{mean:.10g}"), float(f"{variance:.10g}")


def _mean_and_gram(vectors: Vectors) -> tuple[Floats, Floats]:
    n, d = vectors.shape
    total, gram = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, MOMENT_ROWS):
        block = np.asarray(vectors[start : start + MOMENT_ROWS], np.float64)
        total += block.sum(0)
        gram += block.T @ block
    return total / n, gram / n
