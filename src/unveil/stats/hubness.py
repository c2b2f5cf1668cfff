"""Hubs: faces that are close to everybody, and the correction that takes this out of a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Ints

# Neighbours in the cohort whose mean cosine says how close to everybody a picture is.
NEIGHBOURS = 10


def closeness(cohort_cosine: Floats) -> Floats:
    """r (N,): the mean of each picture's highest cosines against the cohort, given as (N, K).

    Half of it is taken off a score for either side: CSLS (Conneau et al. 2018, arXiv 1710.04087). Being additive, the
    correction keeps exact search exact.
    """
    if cohort_cosine.shape[1] == 0:
        return np.zeros(len(cohort_cosine))
    mean: Floats = cohort_cosine.mean(axis=1)
    return mean


@dataclass(frozen=True)
class HubnessCount:
    """A real picture that is the best match of many synthetic ones."""

    row: int
    n_best_match_of: int
    in_top_pairs: int


def count_hubness(best_rows: Ints, top_pair_rows: Ints, n_rows: int, keep: int = 20) -> list[HubnessCount]:
    """Real pictures that are the best match of several synthetic ones (rows (Q,)), the most frequent first."""
    as_best = np.bincount(best_rows, minlength=n_rows)
    in_top = np.bincount(top_pair_rows, minlength=n_rows)
    order = np.lexsort((np.arange(n_rows), -in_top, -as_best))[:keep]
    return [HubnessCount(int(i), int(as_best[i]), int(in_top[i])) for i in order if as_best[i] > 1]


def best_of_each(codes: Ints, score: Floats, before: Floats | None = None) -> Ints:
    """The best row of each code that occurs, by ascending code; ties go to the lower ``before``, then the lower row."""
    order = np.lexsort((*(() if before is None else (before,)), -score, codes))
    return np.asarray(order[np.unique(codes[order], return_index=True)[1]], np.int64)


def person_codes(people: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """The distinct people in order of first appearance, and the index of each picture's person (N,)."""
    distinct = {person: i for i, person in enumerate(dict.fromkeys(people))}
    return tuple(distinct), np.array([distinct[p] for p in people], np.int64)
