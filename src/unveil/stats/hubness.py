"""Hubness: images that are close to everybody, and the correction that removes it from a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.columns import People, Texts
from unveil.types import Floats, Ints

Numbers = npt.NDArray[np.integer[Any] | np.floating[Any]]
# Neighbours in the cohort whose mean cosine is the closeness of an image to everybody.
NEIGHBOURS = 10


def closeness(cohort_cosine: Floats) -> Floats:
    """r (N,): the mean of the highest cosines (N, K) of each image against the cohort.

    Half of the r of both images is subtracted from the score of a pair: CSLS (Conneau et al. 2018, arXiv 1710.04087).
    The correction is additive, so exact search remains exact.
    """
    if cohort_cosine.shape[1] == 0:
        return np.zeros(len(cohort_cosine))
    mean: Floats = cohort_cosine.mean(axis=1)
    return mean


@dataclass(frozen=True)
class HubnessCount:
    """How many synthetic images have a real image as their best match, and how many top pairs show it."""

    row: int
    n_best_match_of: int
    in_top_pairs: int


def count_hubness(best_rows: Ints, top_pair_rows: Ints, n_rows: int, max_rows: int = 20) -> list[HubnessCount]:
    """Real images that are the best match of several synthetic images (rows (Q,)), the most frequent first."""
    as_best = np.bincount(best_rows, minlength=n_rows)
    in_top = np.bincount(top_pair_rows, minlength=n_rows)
    order = np.lexsort((np.arange(n_rows), -in_top, -as_best))[:max_rows]
    return [HubnessCount(int(i), int(as_best[i]), int(in_top[i])) for i in order if as_best[i] > 1]


def chance_best_matches(n_queries: int, n_rows: int, level: float = 0.95) -> int:
    """How often a row is the best match of ``n_queries`` at most, with probability ``level`` for all ``n_rows`` rows
    together, if all rows are equally close."""
    if n_rows < 2:
        return n_queries
    probability, below, limit = (1 - 1 / n_rows) ** n_queries, 0.0, -1
    while n_rows * (1 - below) > 1 - level and limit < n_queries:
        below += probability
        limit += 1
        probability *= (n_queries - limit) / (limit + 1) / (n_rows - 1)
    return limit


def best_of_each(codes: Ints, score: Floats, before: Numbers | None = None) -> Ints:
    """The row with the best score (N,) of each code that occurs in codes (N,), by ascending code.

    Ties go to the lower ``before`` (N,), then to the lower row.
    """
    order = np.lexsort((*(() if before is None else (before,)), -score, codes))
    return np.asarray(order[np.unique(codes[order], return_index=True)[1]], np.int64)


def n_agreeing(codes: Ints, person: Ints, best: Ints) -> Ints:
    """How many images of each identity (I,) have the person of its ``best`` image (I,) as their closest person.

    ``codes`` (N,) are the identities of the images, ``person`` (N,) the people whom they are closest to.
    """
    return np.bincount(codes, person == person[best][codes]).astype(np.int64)


def person_codes(people: Sequence[str]) -> tuple[Texts, Ints]:
    """The distinct people in order of first appearance, and the index (N,) of each image's person."""
    return (people if isinstance(people, (People, Texts)) else Texts(people)).coded()
