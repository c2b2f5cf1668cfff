"""The best match of an image among a part of the gallery: other people, or the images that take part in a test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unveil.compare.api import compare_all
from unveil.compare.backends import Backend
from unveil.compare.exact import UnitRows, exact_cosine
from unveil.types import Floats, Ints, Matches

# A query's own person may fill the top of its list. The first search is as deep as nearly everybody has images.
MAX_FIRST_DEPTH = 256


def best_of_others(
    queries: UnitRows,
    query_people: Ints,
    gallery: UnitRows,
    gallery_people: Ints,
    query_offset: Floats,
    gallery_offset: Floats,
    backend: str | Backend = "auto",
) -> tuple[Ints, Floats]:
    """For each query the best gallery row of another person: rows (Q,), -1 where there is none, and scores (Q,).

    People are numbers of the queries (Q,) and of the gallery rows (G,).
    """
    rows, score = np.full(len(query_people), -1, np.int64), np.full(len(query_people), -np.inf)
    if not len(query_people) or not len(gallery_people):
        return rows, score
    distinct = np.unique(np.concatenate([query_people, gallery_people]))
    query_codes, gallery_codes = (np.searchsorted(distinct, people) for people in (query_people, gallery_people))
    depth = min(MAX_FIRST_DEPTH, 1 + int(np.quantile(np.bincount(gallery_codes), 0.99)))
    found = compare_all(
        *(queries, gallery),
        top_k=depth,
        best_queries=False,
        query_offset=query_offset,
        gallery_offset=gallery_offset,
        backend=backend,
        moments=False,
    )
    other = gallery_codes[found.rows] != query_codes[:, None]
    known = _set_first_allowed(found, other, rows, score)
    # Few people have more images than the first search is deep: score all images of other people for them.
    for i in np.flatnonzero(~known):
        others = np.flatnonzero(gallery_codes != query_codes[i])
        if not len(others):
            continue
        cosine = exact_cosine(queries, gallery, np.full(len(others), i), others)
        scores = cosine + query_offset[i] + gallery_offset[others]
        best = int(scores.argmax())
        rows[i], score[i] = others[best], scores[best]
    return rows, score


def best_among(
    found: Matches,
    queries: UnitRows,
    gallery: UnitRows,
    allowed: Ints,
    query_offset: Floats,
    gallery_offset: Floats,
    backend: str | Backend = "auto",
) -> tuple[Ints, Floats]:
    """Each query's best of the gallery rows ``allowed``: rows (Q,), -1 where there is none, and scores (Q,).

    ``found`` holds the queries' top matches over the whole gallery, which answer most queries without a comparison.
    """
    rows, score = np.full(len(queries), -1, np.int64), np.full(len(queries), -np.inf)
    if not len(allowed) or not len(queries):
        return rows, score
    mask = np.zeros(len(gallery), np.bool_)
    mask[allowed] = True
    known = _set_first_allowed(found, mask[found.rows], rows, score)
    rest = np.flatnonzero(~known)
    if len(rest):
        again = compare_all(
            *(queries[rest], gallery[allowed]),
            top_k=1,
            best_queries=False,
            query_offset=query_offset[rest],
            gallery_offset=gallery_offset[allowed],
            backend=backend,
            moments=False,
        )
        rows[rest], score[rest] = allowed[again.rows[:, 0]], again.score[:, 0]
    return rows, score


def _set_first_allowed(
    found: Matches, allowed: npt.NDArray[np.bool_], rows: Ints, score: Floats
) -> npt.NDArray[np.bool_]:
    """Sets each query's first allowed match in ``rows`` and ``score``; returns which queries (Q,) have one."""
    known = np.asarray(allowed.any(1), np.bool_)
    at = np.flatnonzero(known)
    first = allowed[at].argmax(1)
    rows[at], score[at] = found.rows[at, first], found.score[at, first]
    return known
