"""The record of an input check, and the statistics that checks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.stats.intervals import LEVEL, NORMAL
from unveil.stats.statements import Statement
from unveil.types import Estimate, Floats, Vectors

Status = Literal["pass", "warn", "fail"]

RESAMPLES = 200
MIN_LABEL_PAIRS = 10


@dataclass(frozen=True)
class Check:
    """The outcome of one input check."""

    name: str
    """Name of the check."""
    status: Status
    """`warn` weakens the verdict. `fail` blocks the statements of `invalidates`."""
    figure: Estimate
    """The number that was checked."""
    message: str
    """What was found and, unless the check passed, what to do."""
    invalidates: tuple[Statement, ...] = ()
    """The statements that are unreliable if the check fails."""


def grade(value: float, warn: float, fail: float) -> Status:
    """Pass below ``warn``, fail from ``fail`` on."""
    return "fail" if value >= fail else "warn" if value >= warn else "pass"


def spread(sample: Vectors) -> float:
    """1 - mean cosine between different rows (N, D) of a sample with one image per person."""
    n = len(sample)
    if n < 2:
        return 1.0
    total = np.asarray(sample, np.float64).sum(0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def relative_spread(sample: Vectors, training: float, rng: np.random.Generator) -> Estimate:
    """The spread of a sample (N, D) divided by that of the training set, with a percentile bootstrap over people."""
    own = spread(sample)
    scale = training if training > 0 else 1.0
    vectors = np.asarray(sample, np.float64)
    n = len(vectors)
    resampled = []
    for _ in range(RESAMPLES if n > 1 else 0):
        times = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        total, repeated = times @ vectors, float(times @ times)
        # An image that is drawn twice is no pair of different people.
        if repeated < n * n:
            resampled.append(float(1 - (total @ total - repeated) / (n * n - repeated)))
    low, high = (float(v) for v in np.quantile(resampled or [own], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    method = "1 - mean cosine between different people, relative to the training set; percentile bootstrap over people"
    return Estimate(own / scale, min(low, own) / scale, max(high, own) / scale, LEVEL, n, method)


def label_closeness(mated: Floats, non_mated: Floats) -> Estimate | None:
    """The share of pairs with one label (M,) that are closer than pairs with two labels (N,), with a normal interval.

    None where there are fewer than MIN_LABEL_PAIRS of either.
    """
    if len(mated) < MIN_LABEL_PAIRS or len(non_mated) < MIN_LABEL_PAIRS:
        return None
    closer = (mated[:, None] > np.quantile(non_mated, np.linspace(0.005, 0.995, 100))[None]).mean(1)
    value = float(closer.mean())
    half = NORMAL * float(closer.std()) / np.sqrt(len(closer))
    method = "share of pairs with one label that are closer than pairs with two, normal interval over labels"
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), LEVEL, len(closer), method)
