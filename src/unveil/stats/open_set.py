"""Thresholds of open-set search, from how well people match *other* people."""

from __future__ import annotations

import numpy as np

from unveil.stats.intervals import share
from unveil.types import Estimate, Floats


def fpir_threshold(other_scores: Floats, fpir: float) -> tuple[float, float]:
    """The threshold that a new non-mated search exceeds with probability at most ``fpir``, and that probability.

    FPIR is defined in ISO/IEC 19795-1. ``other_scores`` (N,) are the best scores of real people among other people. A
    new search, exchangeable with them, exceeds the k-th largest with probability k / (N + 1). Below 1 / (N + 1) there
    is no such threshold, and the largest score is used.
    """
    k = max(1, int(np.floor(fpir * (len(other_scores) + 1) + 1e-9)))
    return float(np.sort(other_scores)[-k]), k / (len(other_scores) + 1)


def expected_above(n_real_above: int, n_real: int, n_searches: int) -> Estimate:
    """How many of ``n_searches`` images exceed a threshold that ``n_real_above`` of ``n_real`` people reach."""
    part = share(n_real_above, n_real)
    return Estimate(
        part.value * n_searches,
        part.low * n_searches,
        part.high * n_searches,
        part.level,
        n_searches,
        "share of real people above the threshold times synthetic images, Clopper-Pearson of the share",
    )


def same_person_threshold(other_scores: Floats, n_searches: int, expected: float = 0.5) -> float:
    """The score that ``expected`` of ``n_searches`` non-mated searches exceed.

    It follows an exponential tail through the 90th and 99th percentiles of non-mated search scores (N,). Label errors,
    where two names are one person, lie above the 99th percentile and do not affect it.
    """
    q90, q99 = (float(v) for v in np.quantile(other_scores, [0.90, 0.99]))
    per_decade = q99 - q90
    return q99 + per_decade * max(0.0, float(np.log10(0.01 * n_searches / expected)))
