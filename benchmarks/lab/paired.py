"""Whether one score of the same people finds more than another, beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.stats.membership import RESAMPLES, resolves, threshold_at
from unveil.types import Floats

FPR = 0.01


@dataclass(frozen=True)
class PeopleScores:
    """The score of each training and control person who is tested, by name."""

    training: Mapping[str, float]
    control: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """The TPR at 1% FPR of a score, that of another, and their difference with its 95% interval; NaN where too few
    control people show this FPR. ``p_below`` is the one-sided p of the null that the score is not below the other."""

    rate: float
    other: float
    value: float
    low: float
    high: float
    p_below: float


def difference(score: PeopleScores, other: PeopleScores, rng: np.random.Generator) -> Difference:
    """A percentile bootstrap over people; each resample has the same people for both scores."""
    training, control = (
        np.array([[score_of.get(p, np.nan), other_of.get(p, np.nan)] for p in {**score_of, **other_of}])
        for score_of, other_of in ((score.training, other.training), (score.control, other.control))
    )
    rates = _rates(training, control)
    resampled = np.array(
        [
            _rates(*(side[rng.integers(len(side), size=len(side))] for side in (training, control)))
            for _ in range(RESAMPLES)
        ]
    )
    differences = resampled[:, 0] - resampled[:, 1]
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p_below = (1 + (differences >= 0).sum()) / (RESAMPLES + 1)
    return Difference(
        rate=float(rates[0]),
        other=float(rates[1]),
        value=float(rates[0] - rates[1]),
        low=float(low),
        high=float(high),
        p_below=float(p_below),
    )


def _rates(training: Floats, control: Floats) -> Floats:
    """The rates (2,) of both scores, columns of (P, 2) and (C, 2); NaN for people whom one does not test."""
    rates = np.full(2, np.nan)
    for k in range(2):
        own, null = (side[~np.isnan(side[:, k]), k] for side in (training, control))
        if resolves(FPR, len(null)):
            rates[k] = np.mean(own > threshold_at(null, FPR)[0])
    return rates
