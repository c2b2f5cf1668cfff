"""Verification performance of a face model: mated and non-mated pairs of labelled people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Floats, Ints, Probability, Vectors

FMRS = (1e-3, 1e-4, 1e-5)
# A rate is reported when at least so many non-mated pairs exceed its threshold.
MIN_BEYOND = 10
MIN_PEOPLE = 20
RESAMPLES = 200
# The stored upper end of the non-mated pairs is so much larger than the largest rate needs, since resamples move it.
MARGIN = 3
# Equal cosines differ by at most this when they are computed in blocks.
ROUNDING = 1e-6
CHUNK = 512
SAMPLE = 1_000_000
# Pairs whose vectors are copied at a time: few enough that the copies stay in the cache of a core.
GATHERED_PAIRS = 256
# Pairs of the tail that are cumulated at a time, and what a sum of weights may exceed.
PAIRS_AT_ONCE, ROOM = 2**14, 1e-9


@dataclass(frozen=True)
class OperatingPoint:
    """The performance at one false match rate."""

    fmr: Probability
    """False match rate: the share of pairs of two people above the cosine."""
    cosine: Estimate
    """The cosine above which pairs are called one person."""
    tpr: Estimate
    """True positive rate: the share of pairs of one person above the cosine."""


@dataclass(frozen=True)
class Verification:
    """How well pairs of one person (mated) and pairs of two people (non-mated) are separated."""

    n_people: int
    """Number of people."""
    n_images: int
    """Number of images."""
    n_mated: int
    """Number of pairs of one person."""
    n_non_mated: int
    """Number of pairs of two people."""
    mated_mean: float
    """Mean cosine of pairs of one person."""
    mated_deviation: float
    """Standard deviation of these cosines."""
    non_mated_mean: float
    """Mean cosine of pairs of two people."""
    non_mated_deviation: float
    """Standard deviation of these cosines."""
    method: str
    """Which pairs were compared."""
    operating: tuple[OperatingPoint, ...]
    """The performance at each false match rate that this number of pairs can measure."""


def verification_performance(vectors: Vectors, codes: Ints, rng: np.random.Generator) -> Verification | None:
    """The true positive rate at several false match rates (ISO/IEC 19795-1), from all pairs of images.

    ``vectors`` (N, D) are unit rows, ``codes`` (N,) their people, from 0. None where fewer than MIN_PEOPLE people have
    two images. Pairs share people, so intervals are percentile bootstraps over people: a person drawn twice has their
    pairs twice (the subsets bootstrap of Bolle, Ratha, Pankanti 2004, doi:10.1016/j.cviu.2003.08.002). Assumes that
    labels are correct: two labels of one person count as false matches.
    """
    order = np.argsort(codes, kind="stable")
    vectors, codes = vectors[order], codes[order]
    sizes = np.bincount(codes)
    if (sizes > 1).sum() < MIN_PEOPLE:
        return None
    mated, mated_person = _mated(vectors, codes)
    n_non_mated = int(n_non_mated_pairs(sizes))
    sample = sampled_non_mated(vectors, codes, rng)
    stored = min(1.0, MARGIN * max(FMRS))
    floor = float(np.quantile(sample, 1 - stored)) if n_non_mated * stored >= 1 else -1.0
    tail, first, second = non_mated_tail(vectors, codes, floor)
    rates = [fmr for fmr in FMRS if fmr * n_non_mated >= MIN_BEYOND]
    ones = np.ones(len(sizes))
    values = _operate(mated, mated_person, tail, first, second, sizes, ones, rates)
    resampled = np.array(
        [
            _operate(
                *(mated, mated_person, tail, first, second, sizes),
                np.bincount(rng.integers(len(sizes), size=len(sizes)), minlength=len(sizes)).astype(np.float64),
                rates,
            )
            for _ in range(RESAMPLES)
        ]
    )
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if len(rates) else (values, values)
    method = f"percentile bootstrap over people ({RESAMPLES} resamples)"

    def estimate(k: int, what: int, n: int) -> Estimate:
        value = values[k, what]
        return Estimate(
            float(value), float(min(low[k, what], value)), float(max(high[k, what], value)), LEVEL, n, method
        )

    return Verification(
        n_people=len(sizes),
        n_images=len(codes),
        n_mated=len(mated),
        n_non_mated=n_non_mated,
        mated_mean=float(mated.mean()),
        mated_deviation=float(mated.std()),
        non_mated_mean=float(sample.mean()),
        non_mated_deviation=float(sample.std()),
        method=f"all mated pairs, and a sample of {len(sample)} non-mated ones for their mean and deviation",
        operating=tuple(
            OperatingPoint(fmr, estimate(k, 0, n_non_mated), estimate(k, 1, len(mated))) for k, fmr in enumerate(rates)
        ),
    )


def _mated(vectors: Vectors, codes: Ints) -> tuple[Floats, Ints]:
    """Cosines of all pairs of images of one person, highest first, and their people; ``codes`` ascend."""
    starts = np.searchsorted(codes, np.arange(codes[-1] + 2))
    cosines, people = [], []
    for person in np.flatnonzero(np.diff(starts) > 1):
        own = vectors[starts[person] : starts[person + 1]].astype(np.float64)
        pairs = (own @ own.T)[np.triu_indices(len(own), 1)]
        cosines.append(pairs)
        people.append(np.full(len(pairs), person, np.int64))
    all_cosines, all_people = np.concatenate(cosines), np.concatenate(people)
    order = np.argsort(-all_cosines, kind="stable")
    return all_cosines[order], all_people[order]


def n_non_mated_pairs(sizes: Floats | Ints) -> float:
    """The number of pairs of images of two people, from the number of images (P,) of each, which may be weighted."""
    return float((sizes.sum() ** 2 - (sizes**2).sum()) / 2)


def sampled_non_mated(vectors: Vectors, codes: Ints, rng: np.random.Generator) -> Floats:
    """Cosines of random pairs of images of two people."""
    a, b = rng.integers(len(codes), size=(2, SAMPLE))
    different = codes[a] != codes[b]
    a, b = a[different], b[different]
    cosines = np.empty(len(a), vectors.dtype)
    for start in range(0, len(a), GATHERED_PAIRS):
        part = slice(start, start + GATHERED_PAIRS)
        np.einsum("ij,ij->i", vectors[a[part]], vectors[b[part]], out=cosines[part])
    return cosines.astype(np.float64)


def non_mated_tail(vectors: Vectors, codes: Ints, floor: float) -> tuple[Floats, Ints, Ints]:
    """The non-mated pairs with a cosine of at least ``floor``, highest first, with both people."""
    found = []
    for start in range(0, len(codes), CHUNK):
        rows = vectors[start : start + CHUNK]
        cosine = rows @ vectors[start:].T
        i, j = np.divmod(np.flatnonzero(cosine >= floor), cosine.shape[1])
        once = (codes[start + i] != codes[start + j]) & (i < j)
        i, j = i[once], j[once]
        found.append((cosine[i, j].astype(np.float64), codes[start + i], codes[start + j]))
    beyond = np.concatenate([cosine for cosine, _, _ in found])
    first, second = (np.concatenate([part[k] for part in found]) for k in (1, 2))
    order = np.argsort(-beyond, kind="stable")
    return beyond[order], first[order], second[order]


def _operate(
    mated: Floats,
    mated_person: Ints,
    tail: Floats,
    first: Ints,
    second: Ints,
    sizes: Ints,
    weights: Floats,
    rates: list[float],
) -> Floats:
    """For each rate (rates, 2) the threshold that at most this share of non-mated pairs exceed, and the share of mated
    pairs above it; each person counts ``weights`` times.
    """
    total = n_non_mated_pairs(weights * sizes)
    beyond = _cumulated_until(weights, first, second, max(rates, default=0.0) * total + ROOM)
    mated_weight = np.cumsum(weights[mated_person])
    out = np.zeros((len(rates), 2))
    for k, fmr in enumerate(rates):
        index = min(int(np.searchsorted(beyond, fmr * total + ROOM, side="right")), len(tail) - 1)
        threshold = tail[index]
        above = int(np.searchsorted(-mated, -(threshold + ROUNDING), side="left"))
        out[k] = threshold, (mated_weight[above - 1] if above else 0.0) / max(mated_weight[-1], 1e-300)
    return out


def _cumulated_until(weights: Floats, first: Ints, second: Ints, highest: float) -> Floats:
    """Cumulated weights of pairs of two people, until they exceed ``highest`` or no pair is left."""
    parts, reached = [np.zeros(0)], 0.0
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        # Weights are whole numbers, so that sums are exact in any order.
        parts.append(reached + np.cumsum(weights[first[part]] * weights[second[part]]))
        reached = float(parts[-1][-1])
        if reached > highest:
            break
    return np.concatenate(parts)
