"""Thresholds of open-set search, from how well people match *other* people."""

from __future__ import annotations

import numpy as np

from unveil.types import Floats


def same_person_threshold(other_scores: Floats, n_searches: int, expected: float = 0.5) -> float:
    """The score that ``expected`` of ``n_searches`` non-mated searches exceed.

    It follows an exponential tail through the 90th and 99th percentiles of non-mated search scores (N,). Label errors,
    where two names are one person, lie above the 99th percentile and do not affect it.
    """
    q90, q99 = (float(v) for v in np.quantile(other_scores, [0.90, 0.99]))
    per_decade = q99 - q90
    return q99 + per_decade * max(0.0, float(np.log10(0.01 * n_searches / expected)))
