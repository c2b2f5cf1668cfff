"""The best match of a picture among some of the gallery: other people, or the pictures that take part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unveil.compare.api import Vectors, compare_all
from unveil.compare.backends import Backend
from unveil.compare.exact import exact_cosine
from unveil.types import Floats, Ints, Matches

# A query's own person may fill the top of its list. The first look is as deep as nearly everybody has pictures.
MAX_FIRST_DEPTH = 256


def best_of_others(
    queries: Vectors,
    query_people: Sequence[str],
    gallery: Vectors,
    gallery_people: Sequence[str],
    query_offset: Floats,
    gallery_offset: Floats,
    backend: str | Backend = "auto",
) -> tuple[Ints, Floats]:
    """For each query the best gallery row of another person: rows (Q,), -1 where there is none, and scores (Q,)."""
    codes = {person: i for i, person in enumerate(dict.fromkeys([*query_people, *gallery_people]))}
    own = np.array([codes[p] for p in query_people], np.int64)
    theirs = np.array([codes[p] for p in gallery_people], np.int64)
    rows, score = np.full(len(own), -1, np.int64), np.full(len(own), -np.inf)
    if not len(own) or not len(theirs):
        return rows, score
    depth = min(MAX_FIRST_DEPTH, 1 + int(np.quantile(np.bincount(theirs), 0.99)))
    found = compare_all(
        *(queries, gallery),
        top_k=depth,
        best_queries=False,
        query_offset=query_offset,
        gallery_offset=gallery_offset,
        backend=backend,
        moments=False,
    )
    other = theirs[found.rows] != own[:, None]
    known = _first_allowed(found, other, rows, score)
    # The few people with more pictures than that: look at all the others for them.
    for i in np.flatnonzero(~known):
        others = np.flatnonzero(theirs != own[i])
        if not len(others):
            continue
        cosine = exact_cosine(queries, gallery, np.full(len(others), i), others)
        scores = cosine + query_offset[i] + gallery_offset[others]
        best = int(scores.argmax())
        rows[i], score[i] = others[best], scores[best]
    return rows, score


def best_among(
    found: Matches,
    queries: Vectors,
    gallery: Vectors,
    allowed: Ints,
    query_offset: Floats,
    gallery_offset: Floats,
    backend: str | Backend = "auto",
) -> tuple[Ints, Floats]:
    """Each query's best of the gallery rows ``allowed``: rows (Q,), -1 where there is none, and scores (Q,).

    ``found`` are the queries' top matches over the whole gallery: most answers are there already.
    """
    rows, score = np.full(len(queries), -1, np.int64), np.full(len(queries), -np.inf)
    if not len(allowed) or not len(queries):
        return rows, score
    mask = np.zeros(len(gallery), np.bool_)
    mask[allowed] = True
    known = _first_allowed(found, mask[found.rows], rows, score)
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


def _first_allowed(found: Matches, allowed: npt.NDArray[np.bool_], rows: Ints, score: Floats) -> npt.NDArray[np.bool_]:
    """Fills in each query's first allowed match; returns which queries have one."""
    known = np.asarray(allowed.any(1), np.bool_)
    at = np.flatnonzero(known)
    first = allowed[at].argmax(1)
    rows[at], score[at] = found.rows[at, first], found.score[at, first]
    return known
