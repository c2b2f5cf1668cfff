"""The best matches found so far, into which every backend adds pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from unveil.errors import SettingError
from unveil.io.checkpoint import Checkpoint
from unveil.io.mapping import filled
from unveil.types import Floats, Ints, Matches

# Queries whose lists are sorted at once at the end.
RESULT_ROWS = 16384
# Exact cosines (M,) of pairs of the compared sets, by their indexes (M,).
IndexScorer = Callable[[Ints, Ints], Floats]
# The order (M,) of `worst_first`.
Order = Callable[[Ints, Floats, Ints], Ints]


@dataclass(frozen=True)
class QuerySpec:
    """What a comparison has to find; counts are limited to what the sets can give."""

    top_k: int
    best_queries: bool
    top_pairs: int
    threshold: float | None
    tail: Floats  # ascending scores
    query_offset: Floats  # (Q,)
    gallery_offset: Floats  # (G,)
    max_pairs: int

    @cached_property
    def max_offset(self) -> float:
        """The largest absolute offset of a query plus that of a gallery row."""
        # Once for all tiles, and without a copy: the offsets of millions of queries are large.
        sizes = (max(o.max(initial=0.0), -o.min(initial=0.0)) for o in (self.query_offset, self.gallery_offset))
        return float(sum(sizes))

    @property
    def floor(self) -> float:
        """The score from which a pair counts whatever its query and row are; infinite when there is none."""
        levels = [np.inf] if self.threshold is None else [self.threshold]
        return float(min([*levels, *self.tail[:1]]))

    def lists_only(self, query_offset: Floats) -> QuerySpec:
        """The same, of the lists of other queries alone."""
        return replace(
            self,
            best_queries=False,
            top_pairs=0,
            threshold=None,
            tail=self.tail[:0],
            query_offset=query_offset,
        )

    def too_many_pairs(self) -> SettingError:
        """The error for more pairs at the threshold than ``max_pairs``."""
        return SettingError(
            f"at most {self.max_pairs} pairs should score {self.threshold:g} or more, and more do. Raise the "
            "threshold, or max_pairs if there is memory for them"
        )


def worst_first(place: Ints, score: Floats, g: Ints) -> Ints:
    """The order (M,) by place, then by rising score, then by falling row; faster than ``np.lexsort``.

    Rows are compared only where scores are equal.
    """
    order = np.argsort(score)
    narrow = np.uint16 if len(place) and place.max() < 1 << 16 else np.int64  # NumPy sorts 16-bit integers by radix
    order = order[np.argsort(place[order].astype(narrow), kind="stable")]
    place, score, g = place[order], score[order], g[order]
    same = (place[1:] == place[:-1]) & (score[1:] == score[:-1]) & (g[1:] != g[:-1])
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order[tied] = order[tied[np.lexsort((-g[tied], score[tied], place[tied]))]]
    return order


class TopMatches:
    """The matches after ``done`` tiles, of whatever size the backend's tiles have.

    Each pair must be added at most once. Lists are heaps with the worst pair first; free places have index -1 and
    score -inf.
    """

    def __init__(self, n_queries: int, n_gallery: int, spec: QuerySpec) -> None:
        self.spec = spec
        self.done = 0
        self.rows: Ints = filled((n_queries, spec.top_k), -1, np.int64)
        self.score: Floats = filled((n_queries, spec.top_k), -np.inf, np.float64)
        n_best = n_gallery if spec.best_queries else 0
        self.best_query: Ints = filled((n_best,), -1, np.int64)
        self.best_query_score: Floats = filled((n_best,), -np.inf, np.float64)
        self.top_query = np.full(spec.top_pairs, -1, np.int64)
        self.top_row = np.full(spec.top_pairs, -1, np.int64)
        self.top_score = np.full(spec.top_pairs, -np.inf)
        self.counts = np.zeros(len(spec.tail) + 1, np.int64)
        self._pairs = [np.zeros((0, 2), np.int64)]
        self._pairs_score = [np.zeros(0)]
        self.n_pairs = 0
        self._shape = n_queries, n_gallery

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The whole state as arrays, for a checkpoint."""
        names = ("rows", "score", "best_query", "best_query_score", "top_query", "top_row", "top_score", "counts")
        return {
            "done": np.array(self.done),
            **{name: getattr(self, name) for name in names},
            "pairs": np.concatenate(self._pairs),
            "pairs_score": np.concatenate(self._pairs_score),
        }

    def restore(self, saved: dict[str, npt.NDArray[np.generic]]) -> None:
        """Restores the state from the arrays of a checkpoint."""
        pairs, scores = saved.pop("pairs").astype(np.int64), saved.pop("pairs_score").astype(np.float64)
        self.done = int(saved.pop("done").item())
        for name, array in saved.items():
            getattr(self, name)[:] = array
        self._pairs, self._pairs_score, self.n_pairs = [pairs], [scores], len(pairs)

    def panels(self, size: int, checkpoint: Checkpoint, progress: Callable[[int], None]) -> Iterator[slice]:
        """The panels of ``size`` queries that a checkpoint lacks; each is saved when the next is requested."""
        n_queries, n_gallery = self._shape
        if (saved := checkpoint.load()) is not None:
            self.restore(saved)
            progress(min(self.done * size, n_queries) * n_gallery)
        while (first := self.done * size) < n_queries:
            panel = slice(first, min(first + size, n_queries))
            yield panel
            self.done += 1
            checkpoint.save(self.arrays, done=panel.stop == n_queries)

    @property
    def floor(self) -> float:
        """As `QuerySpec.floor`, or the worst of the best pairs of all once their list is full."""
        worst = self.top_score[0] if len(self.top_score) else np.inf
        return float(min(self.spec.floor, worst))

    def add(self, q: Ints, g: Ints, cosine: Floats, order: Order = worst_first) -> None:
        """Adds pairs of queries and gallery rows with their exact cosines, each (M,); ``order`` sorts them."""
        score = cosine + self.spec.query_offset[q] + self.spec.gallery_offset[g]
        if self.spec.top_k:
            self._add_to_rows(q, g, score, order)
        if self.spec.best_queries:
            self._add_to_best_queries(q, g, score)
        if self.spec.top_pairs:
            self._add_to_top_pairs(q, g, score)
        if self.spec.threshold is not None:
            reached = score >= self.spec.threshold
            self.add_pairs(q[reached], g[reached], score[reached])
        levels = np.searchsorted(self.spec.tail, score, side="right")
        self.counts += np.bincount(levels[levels > 0], minlength=len(self.counts))

    def add_pairs(self, q: Ints, g: Ints, score: Floats) -> None:
        """Adds pairs at or above the threshold. Raises SettingError when there are more than ``max_pairs``."""
        self.n_pairs += len(q)
        if self.n_pairs > self.spec.max_pairs:
            raise self.spec.too_many_pairs()
        self._pairs.append(np.column_stack([q, g]))
        self._pairs_score.append(score)

    def _add_to_rows(self, q: Ints, g: Ints, score: Floats, sort: Order) -> None:
        k = self.spec.top_k
        reaching = score >= self.score[q, 0]
        q, g, score = q[reaching], g[reaching], score[reaching]
        if not len(q):
            return
        first = q.min()
        counts = np.bincount(q - first)
        touched = np.flatnonzero(counts) + first
        place = (np.cumsum(counts > 0) - 1)[q - first]
        place = np.concatenate([np.repeat(np.arange(len(touched)), k), place])
        g = np.concatenate([self.rows[touched].ravel(), g])
        score = np.concatenate([self.score[touched].ravel(), score])
        # Worst first: free places (row -1, score -inf), then lower scores, then higher rows.
        order = sort(place, score, g)
        ends = np.cumsum(np.bincount(place))
        best = order[ends[:, None] - k + np.arange(k)[None]]
        self.rows[touched], self.score[touched] = g[best], score[best]

    def _add_to_best_queries(self, q: Ints, g: Ints, score: Floats) -> None:
        reaching = score >= self.best_query_score[g]
        q, g, score = q[reaching], g[reaching], score[reaching]
        old = self.best_query_score[g]
        np.maximum.at(self.best_query_score, g, score)
        best = self.best_query_score[g]
        self.best_query[g[best > old]] = len(self.rows)
        first = score == best
        np.minimum.at(self.best_query, g[first], q[first])

    def _add_to_top_pairs(self, q: Ints, g: Ints, score: Floats) -> None:
        reaching = score >= self.top_score[0]
        q, g, score = q[reaching], g[reaching], score[reaching]
        q, g = np.concatenate([self.top_query, q]), np.concatenate([self.top_row, g])
        score = np.concatenate([self.top_score, score])
        best = np.lexsort((-g, -q, score))[-self.spec.top_pairs :]
        self.top_query, self.top_row, self.top_score = q[best], g[best], score[best]

    def result(self, cosine: IndexScorer, mean: float, variance: float) -> Matches:
        """The result of a finished comparison, in the same arrays; ``cosine`` computes the exact cosines of pairs."""
        n_queries, n_gallery = self._shape
        # A score without offsets is the cosine.
        plain = not self.spec.query_offset.any() and not self.spec.gallery_offset.any()
        cosines = self.score if plain else filled(self.score.shape, np.nan, np.float64)
        # In place and block by block: the lists are the largest arrays of a comparison.
        for start in range(0, n_queries, RESULT_ROWS):
            block = slice(start, min(start + RESULT_ROWS, n_queries))
            rows, score = self.rows[block], self.score[block]
            order = np.lexsort((rows, -score), axis=1)
            rows[:], score[:] = np.take_along_axis(rows, order, 1), np.take_along_axis(score, order, 1)
            if not plain:
                queries = np.repeat(np.arange(block.start, block.stop), self.spec.top_k)
                cosines[block] = cosine(queries, rows.ravel()).reshape(rows.shape)
        best_query, best_score = self.best_query, self.best_query_score
        if not self.spec.best_queries:
            best_query, best_score = filled((n_gallery,), -1, np.int64), filled((n_gallery,), -np.inf, np.float64)
        known = np.flatnonzero(best_query >= 0)
        best_cosine = np.full(n_gallery, -np.inf)
        best_cosine[known] = best_score[known] if plain else cosine(best_query[known], known)
        best_first = np.lexsort((self.top_row, self.top_query, -self.top_score))
        top = np.column_stack([self.top_query, self.top_row])[best_first]
        pairs = scores = None
        if self.spec.threshold is not None:
            pairs, scores = np.concatenate(self._pairs), np.concatenate(self._pairs_score)
            in_order = np.lexsort((pairs[:, 1], pairs[:, 0]))
            pairs, scores = pairs[in_order], scores[in_order]
        return Matches(
            rows=self.rows,
            cosine=cosines,
            score=self.score,
            best_query=best_query,
            best_query_cosine=best_cosine,
            best_query_score=best_score,
            top_pairs=top,
            top_pairs_cosine=cosine(top[:, 0], top[:, 1]),
            top_pairs_score=self.top_score[best_first],
            pairs=pairs,
            pairs_score=scores,
            tail_counts=np.cumsum(self.counts[:0:-1])[::-1].copy(),
            mean=mean,
            variance=variance,
            n_compared=n_queries * n_gallery,
        )


def joint_state(matches: Sequence[TopMatches]) -> dict[str, npt.NDArray[np.generic]]:
    """The state of several rankings of the same pairs as arrays, for one checkpoint."""
    if len(matches) == 1:
        return matches[0].arrays()
    return {f"{i} {name}": array for i, m in enumerate(matches) for name, array in m.arrays().items()}


def restore_joint(matches: Sequence[TopMatches], saved: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Restores what `joint_state` returned."""
    for i, m in enumerate(matches):
        start = f"{i} " if len(matches) > 1 else ""
        m.restore({name.removeprefix(start): array for name, array in saved.items() if name.startswith(start)})


def one_by_one(
    matches: Sequence[TopMatches], progress: Callable[[int], None], checkpoint: Checkpoint
) -> Iterator[tuple[TopMatches, Callable[[int], None], Checkpoint]]:
    """For a backend that ranks by one score in a pass: each ranking with its progress and checkpoint.

    Together they report each pair once.
    """
    done = 0

    def shared(n: int) -> None:
        nonlocal done
        before, done = done, done + n
        progress(done // len(matches) - before // len(matches))

    for i, m in enumerate(matches):
        yield m, shared, checkpoint if len(matches) == 1 else checkpoint.part(i)
