"""How many pairs of different people match at a threshold: a tail that is measured inside sets of labelled people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.stats.verification import n_non_mated_pairs, non_mated_tail, sampled_non_mated
from unveil.types import Estimate, Floats, Ints, Vectors

# The closest pairs of people that form the tail: this share of all, within these limits.
SHARE, MIN_TAIL, MAX_TAIL = 0.003, 60, 500
# With fewer pairs of people there is no tail to fit.
MIN_PAIRS = 500
# The highest 10% of the tail count as "at least so high" without their values: among them are people whom a set names
# twice, and images that it holds under two names.
CENSORED = 0.1
# The fit may extend the smallest rate that was counted by two decades, as in `unveil.stats.tail`.
CAP = 100
RESAMPLES = 1000
# Image pairs that are stored for each pair of people of the tail: two people with many images have many close pairs.
STORED = 10
# Up to so many pairs of images, all are stored.
FEW_PAIRS = 2_000_000
# Below this distance, images are as good as equal.
LEAST_DISTANCE = 1e-6
METHOD = (
    "closest pairs of people with different labels inside each set, per pair of images, mean over the sets; power tail "
    "of 1 - cosine, fitted without the values of its highest 10%; percentile bootstrap over people"
)


@dataclass(frozen=True)
class PeoplePairs:
    """The closest pairs (K,) of different people of one set: the cosine of their closest images, highest first.

    ``first`` and ``second`` (K,) are the codes of the people, ``sizes`` (P,) their numbers of images.
    """

    cosine: Floats
    first: Ints
    second: Ints
    sizes: Ints

    @property
    def n_image_pairs(self) -> int:
        """Number of pairs of images of different people."""
        return int(n_non_mated_pairs(self.sizes))


@dataclass(frozen=True)
class TailFit:
    """Above ``threshold``, ``rate`` pairs of people for each pair of images, as a power of 1 - cosine."""

    threshold: float
    rate: float
    power: float
    lowest: float  # the smallest rate that it may give

    def rates(self, cosine: Floats) -> Floats:
        """Pairs of people at or above each cosine (N,), for each pair of images; at most ``rate``."""
        excess = np.maximum(_log_distance(self.threshold) - _log_distance(cosine), 0)
        found: Floats = np.maximum(self.rate * np.exp(-self.power * excess), self.lowest)
        return found


def _log_distance(cosine: Floats | float) -> Floats:
    found: Floats = np.log(np.maximum(1 - np.asarray(cosine, np.float64), LEAST_DISTANCE))
    return found


@dataclass(frozen=True)
class FalseMatchTail:
    """The expected number of false matches at any cosine, when all images of two sets are compared.

    ``pairs`` and ``fits`` are of each set that was measured; ``resampled`` are fits to resamples of its people.
    """

    pairs: tuple[PeoplePairs, ...]
    fits: tuple[TailFit, ...]
    resampled: tuple[tuple[TailFit, ...], ...]
    n_image_pairs: int  # of the two sets

    @property
    def threshold(self) -> float:
        """The lowest cosine whose false matches are known; below it there are more."""
        return max(fit.threshold for fit in self.fits)

    @property
    def smallest(self) -> float:
        """The smallest number of false matches that it can give."""
        return self.n_image_pairs * float(np.mean([fit.lowest for fit in self.fits]))

    def expected(self, cosine: Floats) -> Floats:
        """Pairs of different people that reach each cosine (N,) by chance."""
        return _expected(self.fits, cosine, self.n_image_pairs)

    def estimate(self, cosine: float, scale: float, what: str) -> Estimate:
        """The expected number at a cosine times ``scale``, with its interval."""
        at = np.array([cosine])
        value = float(self.expected(at)[0]) * scale
        drawn = [float(_expected(fits, at, self.n_image_pairs)[0]) for fits in zip(*self.resampled, strict=True)]
        low, high = (float(v) * scale for v in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        n = sum(pairs.n_image_pairs for pairs in self.pairs)
        return Estimate(value, min(low, value), max(high, value), LEVEL, n, f"{what}: {METHOD}")

    def counted(self, cosine: float) -> float:
        """The expected number by counting alone, people whom a set names twice included."""
        rates = [(pairs.cosine >= cosine).sum() / pairs.n_image_pairs for pairs in self.pairs]
        return self.n_image_pairs * float(np.mean(rates))

    def cosine_of(self, expected: float) -> float | None:
        """The lowest cosine at which at most this number of false matches is expected; None if none is known."""
        low, high = self.threshold, 1.0
        if self.expected(np.array([high]))[0] > expected:
            return None
        if self.expected(np.array([low]))[0] <= expected:
            return low
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.expected(np.array([middle]))[0] > expected else (low, middle)
        return high


def _expected(fits: Sequence[TailFit], cosine: Floats, n_image_pairs: int) -> Floats:
    found: Floats = n_image_pairs * np.mean([fit.rates(cosine) for fit in fits], axis=0)
    return found


def closest_people(vectors: Vectors, codes: Ints, rng: np.random.Generator) -> PeoplePairs | None:
    """The closest pairs of different people in a set, or None where it has fewer than MIN_PAIRS pairs of people.

    ``vectors`` (N, D) are unit rows, ``codes`` (N,) their people, from 0. All pairs of images are compared.
    """
    sizes = np.bincount(codes).astype(np.int64) if len(codes) else np.zeros(0, np.int64)
    n_pairs = len(sizes) * (len(sizes) - 1) // 2
    if n_pairs < MIN_PAIRS:
        return None
    order = np.argsort(codes, kind="stable")
    vectors, codes = np.ascontiguousarray(vectors[order]), codes[order]
    n_tail = _tail_size(n_pairs)
    n_image_pairs = int(n_non_mated_pairs(sizes))
    floor = -1.0
    if n_image_pairs > FEW_PAIRS:
        sample = sampled_non_mated(vectors, codes, rng)
        floor = float(np.quantile(sample, 1 - STORED * n_tail / n_image_pairs))
    cosine, first, second = non_mated_tail(vectors, codes, floor)
    key = np.minimum(first, second) * len(sizes) + np.maximum(first, second)
    # The highest cosine of each pair of people is its first, since cosines fall.
    _, at = np.unique(key, return_index=True)
    at = np.sort(at)[: n_tail + 1]
    return PeoplePairs(cosine[at], first[at], second[at], sizes)


def _tail_size(n_pairs: int) -> int:
    return int(min(MAX_TAIL, max(MIN_TAIL, SHARE * n_pairs)))


def false_match_tail(
    sets: Sequence[PeoplePairs], n_image_pairs: int, rng: np.random.Generator
) -> FalseMatchTail | None:
    """The tail of false matches between two sets, from pairs of different people inside each of them; None for none.

    A rate is the number of pairs of people that reach a cosine, divided by the pairs of images that were compared, so
    that sets with many and with few images of a person can be compared. Rates of several sets are averaged: people of
    one set resemble each other at least as much as people of two. Assumes that labels are right but for few, and that
    the rate falls as a power of the distance 1 - cosine, which ends at 0: a Pareto tail of 1 / (1 - cosine), whose
    power is the estimator of Hill (1975, doi:10.1214/aos/1176343247) with censored values. Intervals are the subsets
    bootstrap over people as in `unveil.stats.verification`.
    """
    measured = [(pairs, fit) for pairs in sets if (fit := _fit(pairs, np.ones(len(pairs.sizes)))) is not None]
    if not measured:
        return None
    resampled = []
    for pairs, fit in measured:
        n, fits = len(pairs.sizes), []
        for _ in range(RESAMPLES):
            times = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
            fits.append(_fit(pairs, times) or fit)
        resampled.append(tuple(fits))
    return FalseMatchTail(
        tuple(pairs for pairs, _ in measured), tuple(fit for _, fit in measured), tuple(resampled), n_image_pairs
    )


def _fit(pairs: PeoplePairs, times: Floats) -> TailFit | None:
    """The tail if each person counts ``times`` (P,) times; None without variation."""
    total = n_non_mated_pairs(times * pairs.sizes)
    threshold = float(pairs.cosine[-1])
    weight = (times[pairs.first] * times[pairs.second])[:-1]
    excess = _log_distance(threshold) - _log_distance(pairs.cosine[:-1])
    if excess.max(initial=0.0) <= 0 or weight.sum() <= 0:
        return None
    # The highest, by weight, are censored at the value below them.
    last = int(np.searchsorted(np.cumsum(weight), CENSORED * weight.sum(), side="right"))
    above, below = weight[:last].sum(), weight[last:]
    exposure = float(below @ excess[last:] + above * excess[last])
    if exposure <= 0:
        return None
    return TailFit(threshold, float(weight.sum() / total), float(below.sum() / exposure), 1 / (CAP * total))


def list_q(expected: Floats) -> Floats:
    """The q-value (N,) of each pair of a list, from the false matches expected at its cosine (N,), ascending.

    The share of false matches in the shortest part of the list that holds the pair: expected / length, made monotone
    (Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x).
    """
    if not len(expected):
        return np.zeros(0)
    share = expected / np.arange(1, len(expected) + 1)
    q: Floats = np.minimum(np.minimum.accumulate(share[::-1])[::-1], 1.0)
    return q
