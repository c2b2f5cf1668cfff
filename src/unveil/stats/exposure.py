"""How close the synthetic set comes to each real person, made comparable between training and control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unveil.stats.hubness import best_of_each, person_codes
from unveil.types import Exposure, Floats, Ints


def matched_counts(a: Ints, b: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """How many pictures of each person take part, so that both sides have the same distribution of counts.

    The larger a person's count among its own side, the larger the quantile of the other side it is cut to; ties are
    broken at random. A highest score grows with the number of pictures, so unequal counts would look like exposure.
    """

    def cut(own: Ints, other: Ints) -> Ints:
        order = np.lexsort((rng.random(len(own)), own))
        place = np.empty(len(own))
        place[order] = (np.arange(len(own)) + 0.5) / len(own)
        allowed = np.sort(other)[np.minimum((place * len(other)).astype(np.int64), len(other) - 1)]
        return np.minimum(own, allowed)

    return cut(a, b), cut(b, a)


def subsample_images(codes: Ints, counts: Ints, rng: np.random.Generator) -> Ints:
    """Rows, ascending, of ``counts[p]`` random pictures of each person p; ``codes`` (N,) is each picture's person."""
    order = np.lexsort((rng.random(len(codes)), codes))
    starts = np.searchsorted(codes[order], np.arange(len(counts)))
    rank = np.arange(len(codes)) - starts[codes[order]]
    return np.sort(order[rank < counts[codes[order]]])


def exposures(
    people: Sequence[str], best_query: Ints, score: Floats, cosine: Floats, channel: Ints, rows: Ints | None = None
) -> Exposure:
    """Each person's best pair from each picture's best query: all arrays (G,), ``people`` the person of each picture,
    ``channel`` the channel that sees its best query.

    Only pictures in ``rows`` take part when given; every person must have one. Ties go to the lower row.
    """
    names, codes = person_codes(people)
    used = np.arange(len(codes)) if rows is None else rows
    best = used[best_of_each(codes[used], score[used])]
    found = codes[best]
    return Exposure(
        people=tuple(names[i] for i in found),
        score=score[best],
        cosine=cosine[best],
        n_images=np.bincount(codes[used], minlength=len(names))[found],
        best_pair=np.column_stack([best_query[best], best]),
        channel=channel[best],
    )
