"""Matches by other offsets, without comparing all pairs again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unveil.types import Floats, Ints, Mask, Matches

# Where more of the gallery rows change, all pairs are compared again.
MAX_CHANGED = 1 / 3
# Shares of the gallery, as 1 / n, up to which rows are compared apart from the others; more are all compared.
GATHERED = (64, 16)
# Of a score, relative to its terms.
MARGIN = 1e-12

# Compares queries (rows (A,), None for all) with gallery rows (B,), by the new offsets: the matches with ``top_k`` rows
# of each query and ``top_pairs`` pairs.
Compare = Callable[[Ints | None, Ints, int, int], Matches]


@dataclass(frozen=True)
class Stored:
    """How many matches are stored: rows of each query, and pairs of all.

    `spare` stores some more, since the best matches of changed rows leave gaps in the lists.
    """

    top_k: int
    top_pairs: int

    @property
    def spare(self) -> Stored:
        """The same with some to spare."""
        return Stored(self.top_k + 2, self.top_pairs + self.top_pairs // 4)

    def trimmed(self, matches: Matches) -> Matches:
        """The best matches alone."""
        return replace(
            matches,
            rows=matches.rows[:, : self.top_k],
            cosine=matches.cosine[:, : self.top_k],
            score=matches.score[:, : self.top_k],
            top_pairs=matches.top_pairs[: self.top_pairs],
            top_pairs_cosine=matches.top_pairs_cosine[: self.top_pairs],
            top_pairs_score=matches.top_pairs_score[: self.top_pairs],
        )


def with_changed_rows(old: Matches, changed: Ints, stored: Stored, compare: Compare) -> Matches:
    """The matches by new offsets, which differ from those of ``old`` in the gallery rows ``changed`` alone.

    A list of ``old`` holds every unchanged pair that is better than its last one. So what it holds of unchanged rows
    and a comparison with the changed rows give the new list, as long as that is no longer than what both decide. The
    rest is compared again: single queries, or all pairs. The result is that of comparing all pairs.
    """
    n_queries, n_rows = len(old.rows), len(old.best_query)
    everything = np.arange(n_rows)
    if len(changed) > MAX_CHANGED * n_rows:
        return compare(None, everything, stored.top_k, stored.top_pairs)
    new = compare(None, changed, stored.top_k, stored.top_pairs)
    gone = np.zeros(n_rows, np.bool_)
    gone[changed] = True
    pairs = _merged_pairs(old, new, changed, gone, min(stored.top_pairs, n_queries * n_rows))
    if pairs is None:
        return compare(None, everything, stored.top_k, stored.top_pairs)
    rows, cosine, score, undecided = _merged_rows(old, new, changed, gone, min(stored.top_k, n_rows))
    if len(undecided):
        again = compare(undecided, everything, stored.top_k, 0)
        rows[undecided], cosine[undecided], score[undecided] = again.rows, again.cosine, again.score
    query, query_cosine = old.best_query.copy(), old.best_query_cosine.copy()
    query_score = old.best_query_score.copy()
    query[changed], query_cosine[changed] = new.best_query, new.best_query_cosine
    query_score[changed] = new.best_query_score
    return replace(
        old,
        rows=rows,
        cosine=cosine,
        score=score,
        best_query=query,
        best_query_cosine=query_cosine,
        best_query_score=query_score,
        top_pairs=pairs[0],
        top_pairs_cosine=pairs[1],
        top_pairs_score=pairs[2],
    )


def _merged_rows(old: Matches, new: Matches, changed: Ints, gone: Mask, k: int) -> tuple[Ints, Floats, Floats, Ints]:
    """The ``k`` best rows of each query, their cosines and scores, and the queries that both lists cannot decide."""
    lost = gone[old.rows]
    rows = np.concatenate([old.rows, changed[new.rows]], axis=1)
    cosine = np.concatenate([old.cosine, new.cosine], axis=1)
    score = np.concatenate([np.where(lost, -np.inf, old.score), new.score], axis=1)
    order = np.lexsort((rows, -score), axis=1)[:, :k]
    rows, cosine, score = (np.take_along_axis(x, order, axis=1) for x in (rows, cosine, score))
    if not k or old.rows.shape[1] == len(gone):  # the old lists hold all rows
        return rows, cosine, score, np.zeros(0, np.int64)
    last, last_row = old.score[:, -1], old.rows[:, -1]
    decided = (score[:, -1] > last) | ((score[:, -1] == last) & (rows[:, -1] <= last_row))
    return rows, cosine, score, np.flatnonzero(~decided)


def _merged_pairs(old: Matches, new: Matches, changed: Ints, gone: Mask, n: int) -> tuple[Ints, Floats, Floats] | None:
    """The ``n`` best pairs of all, their cosines and scores; None where both lists cannot decide."""
    stays = ~gone[old.top_pairs[:, 1]]
    pairs = np.concatenate([old.top_pairs[stays], np.column_stack([new.top_pairs[:, 0], changed[new.top_pairs[:, 1]]])])
    cosine = np.concatenate([old.top_pairs_cosine[stays], new.top_pairs_cosine])
    score = np.concatenate([old.top_pairs_score[stays], new.top_pairs_score])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -score))[:n]
    pairs, cosine, score = pairs[order], cosine[order], score[order]
    if n and len(old.top_pairs) < old.n_compared:
        if len(pairs) < n:
            return None
        at_end = (-score[-1], *pairs[-1].tolist())
        if at_end > (-old.top_pairs_score[-1], *old.top_pairs[-1].tolist()):
            return None
    return pairs, cosine, score


@dataclass(frozen=True)
class Listed:
    """Lists of the best rows, of one row or more, by cosine plus offsets of queries (Q,) and of gallery rows (G,)."""

    matches: Matches
    query_offset: Floats
    gallery_offset: Floats


def best_by_offsets(
    lists: Sequence[Listed],
    query_offset: Floats,
    gallery_offset: Floats,
    compare: Callable[[Ints, Ints | None], Matches],
) -> Matches:
    """Each query's best row by its cosine plus offsets (Q,) and (G,), from lists by other offsets.

    The score of a row that a list lacks is at most that of its last. By the new offsets it changes by the difference of
    the offsets. So the best listed row is the best of all, unless that makes up for the distance. Only such rows are
    compared, by ``compare``: queries (A,) with gallery rows (B,), None for all. For each query the list decides that
    leaves fewest. Best queries and pairs are left out.
    """
    n_rows, first = len(gallery_offset), lists[0].matches
    every = np.arange(len(first.rows))
    row, cosine, score = every * 0, np.zeros(len(every)), np.full(len(every), -np.inf)
    for listed in lists:
        found = listed.matches
        offered = found.cosine + query_offset[:, None] + gallery_offset[found.rows]
        place = np.lexsort((found.rows, -offered), axis=1)[:, 0]
        best = found.rows[every, place], found.cosine[every, place], offered[every, place]
        _set_better(row, cosine, score, every, *best)
    n_needed, by = np.full(len(every), n_rows), np.zeros(len(every), np.int8)
    highest = []
    for i, listed in enumerate(lists):
        shift = gallery_offset - listed.gallery_offset
        bound = listed.matches.score[:, -1] - listed.query_offset + query_offset
        # Far more than what rounding can change.
        size = 1 + np.abs(score) + np.abs(listed.query_offset) + np.abs(query_offset)
        margin = MARGIN * (size + np.abs(listed.gallery_offset).max() + np.abs(gallery_offset).max())
        highest.append(np.argsort(-shift, kind="stable"))
        needed = np.searchsorted(-shift[highest[i]], -(score - bound - margin), side="right")
        if listed.matches.rows.shape[1] == n_rows:
            needed[:] = 0
        fewer = needed < n_needed
        n_needed[fewer], by[fewer] = needed[fewer], i
    done = 0
    for limit in (n_rows // share for share in GATHERED):
        for i, order in enumerate(highest):
            queries = np.flatnonzero((n_needed > done) & (n_needed <= limit) & (by == i))
            if len(queries):
                rows = np.sort(order[: n_needed[queries].max()])
                found = compare(queries, rows)
                of_found = rows[found.rows[:, 0]]
                _set_better(row, cosine, score, queries, of_found, found.cosine[:, 0], found.score[:, 0])
        done = limit
    queries = np.flatnonzero(n_needed > done)
    if len(queries):
        found = compare(queries, None)
        _set_better(row, cosine, score, queries, found.rows[:, 0], found.cosine[:, 0], found.score[:, 0])
    return replace(
        first,
        rows=row[:, None],
        cosine=cosine[:, None],
        score=score[:, None],
        best_query=np.full(n_rows, -1),
        best_query_cosine=np.full(n_rows, -np.inf),
        best_query_score=np.full(n_rows, -np.inf),
        top_pairs=first.top_pairs[:0],
        top_pairs_cosine=first.top_pairs_cosine[:0],
        top_pairs_score=first.top_pairs_score[:0],
    )


def _set_better(
    row: Ints, cosine: Floats, score: Floats, queries: Ints, of_row: Ints, of_cosine: Floats, of_score: Floats
) -> None:
    """Sets the matches of some queries that are better: a higher score, or the same and a lower row."""
    better = (of_score > score[queries]) | ((of_score == score[queries]) & (of_row < row[queries]))
    queries = queries[better]
    row[queries], cosine[queries], score[queries] = of_row[better], of_cosine[better], of_score[better]
