"""Exposure: how close the synthetic set comes to each real person, with equally many images on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.intervals import standardised_difference
from unveil.types import Exposure, Floats, Ints

# In standard deviations of the logarithm of images per person.
DIFFER = 0.1


def counts_differ(a: Ints, b: Ints) -> bool:
    """Whether people of one side (A,) have more or fewer images than those of the other (B,).

    They do by a tenth of a standard deviation of the logarithm, beyond chance. Otherwise people are exchangeable with
    all their images, and none need to be drawn at random.
    """
    if not len(a) or not len(b) or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return bool(len(a) and len(b) and a[0] != b[0])
    found = standardised_difference(np.log(a), np.log(b), "images per person")
    return abs(found.value) >= DIFFER and found.low * found.high > 0


def matched_counts(a: Ints, b: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """How many images of each person are tested, so that both sides (A,) and (B,) have the same distribution of counts.

    Each count is limited to the same quantile of the other side; ties are broken at random. A maximum score grows with
    the number of images, so unequal counts would look like exposure.
    """

    def limited(own: Ints, other: Ints) -> Ints:
        order = np.lexsort((rng.random(len(own)), own))
        quantile = np.empty(len(own))
        quantile[order] = (np.arange(len(own)) + 0.5) / len(own)
        allowed = np.sort(other)[np.minimum((quantile * len(other)).astype(np.int64), len(other) - 1)]
        return np.minimum(own, allowed)

    return limited(a, b), limited(b, a)


def subsample_images(codes: Ints, counts: Ints, rng: np.random.Generator) -> Ints:
    """Rows, ascending, of ``counts[p]`` random images of each person p; ``codes`` (N,) are the people of the images."""
    order = np.lexsort((rng.random(len(codes)), codes))
    starts = np.searchsorted(codes[order], np.arange(len(counts)))
    rank = np.arange(len(codes)) - starts[codes[order]]
    return np.sort(order[rank < counts[codes[order]]])


def exposures(
    people: Sequence[str],
    best_query: Ints,
    score: Floats,
    cosine: Floats,
    channel: Ints,
    rows: Ints | None = None,
    identity: Ints | None = None,
) -> Exposure:
    """The best pair of each person, from the best query of each image.

    All arrays are (G,): ``people`` are the people of the images, ``channel`` the channels of their scores, ``identity``
    the synthetic identities whose mean vectors give them, -1 for none. With ``rows``, only those images are tested, and
    people without one are left out. Ties go to the lower row.
    """
    names, codes = person_codes(people)
    used = np.arange(len(codes)) if rows is None else rows
    best = used[best_of_each(codes[used], score[used])]
    found = codes[best]
    return Exposure(
        people=names.take(found),
        score=score[best],
        cosine=cosine[best],
        n_images=np.bincount(codes[used], minlength=len(names))[found],
        best_pair=np.column_stack([best_query[best], best]),
        channel=channel[best],
        identity=np.full(len(best), -1, np.int64) if identity is None else identity[best],
    )
