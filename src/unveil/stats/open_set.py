"""Thresholds for a search, from how well people match *other* people."""

from __future__ import annotations

import numpy as np

from unveil.stats.intervals import share
from unveil.types import Estimate, Floats


def fpir_threshold(other_scores: Floats, fpir: float) -> tuple[float, float]:
    """The line that a new non-mated search passes with probability at most ``fpir``, and that probability.

    FPIR as in ISO/IEC 19795-1. ``other_scores`` (N,) are the best scores of real people among other people, taken to be
    exchangeable with the new one: above the k-th largest lies a new one with probability k / (N + 1). Below
    ``1 / (N + 1)`` no line can be had, and the highest score is it.
    """
    k = max(1, int(np.floor(fpir * (len(other_scores) + 1) + 1e-9)))
    return float(np.sort(other_scores)[-k]), k / (len(other_scores) + 1)


def expected_above(n_real_above: int, n_real: int, n_searches: int) -> Estimate:
    """How many of ``n_searches`` pictures would lie above a line that ``n_real_above`` of ``n_real`` people reach."""
    part = share(n_real_above, n_real)
    return Estimate(
        part.value * n_searches,
        part.low * n_searches,
        part.high * n_searches,
        part.level,
        n_searches,
        "share of real people above the line times synthetic pictures, Clopper-Pearson of the share",
    )


def same_person_threshold(other_scores: Floats, n_searches: int, expected: float = 0.5) -> float:
    """A score that at most ``expected`` of ``n_searches`` searches for a person who is not there would reach.

    An exponential tail through the 90th and 99th percentiles of the non-mated search scores: label errors, where two
    names are one person, lie above the 99th and do not bend it.
    """
    q90, q99 = (float(v) for v in np.quantile(other_scores, [0.90, 0.99]))
    per_decade = q99 - q90
    return q99 + per_decade * max(0.0, float(np.log10(0.01 * n_searches / expected)))
