"""The record of an input check, and the statistics that checks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.stats.blas import single_blas_thread
from unveil.stats.intervals import LEVEL, NORMAL
from unveil.stats.statements import Statement
from unveil.types import Estimate, Floats, Vectors

Status = Literal["pass", "warn", "fail"]

RESAMPLES = 200
MIN_LABEL_PAIRS = 10
# Fewer vectors show no directions. A set has directions of its own if its unevenness is this many times that by chance.
MIN_VECTORS, MIN_UNEVENNESS = 50, 2.0


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
    with single_blas_thread():
        for _ in range(RESAMPLES if n > 1 else 0):
            times = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
            total, repeated = times @ vectors, float(times @ times)
            # An image that is drawn twice is no pair of different people.
            if repeated < n * n:
                resampled.append(float(1 - (total @ total - repeated) / (n * n - repeated)))
    low, high = (float(v) for v in np.quantile(resampled or [own], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    method = "1 - mean cosine between different people, relative to the training set; percentile bootstrap over people"
    return Estimate(own / scale, min(low, own) / scale, max(high, own) / scale, LEVEL, n, method)


def shared_directions(a: Vectors, b: Vectors) -> Estimate | None:
    """How far unit vectors (N, D) and (M, D) spread in the same directions, between -1 and 1.

    It is the correlation of S - I / D, where S is the mean of x x^T. These matrices are symmetric and without trace, a
    space of (D - 1)(D + 2) / 2 dimensions that rotations leave without a part of its own. So if one set is turned at
    random, the mean is 0 and the variance 2 / ((D - 1)(D + 2)), from which the interval is made. None where a set
    spreads in all directions alike, as far as so few vectors show.
    """
    n, dims = min(len(a), len(b)), a.shape[1]
    if n < MIN_VECTORS or dims < 2:
        return None
    uneven = []
    for sample in (a, b):
        vectors = np.asarray(sample, np.float64)
        matrix = vectors.T @ vectors / len(vectors) - np.eye(dims) / dims
        # The mean square of its norm is (1 - 1 / D) / N for vectors of random directions.
        if len(vectors) * float((matrix**2).sum()) < MIN_UNEVENNESS * (1 - 1 / dims):
            return None
        uneven.append(matrix / np.linalg.norm(matrix))
    value = float((uneven[0] * uneven[1]).sum())
    half = NORMAL * float(np.sqrt(2 / ((dims - 1) * (dims + 2))))
    method = "correlation of the directions in which two sets spread; interval of sets that are turned at random"
    return Estimate(value, value - half, value + half, LEVEL, n, method)


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
