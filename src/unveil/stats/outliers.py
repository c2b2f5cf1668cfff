"""Scores that the others of a group do not explain."""

from __future__ import annotations

import numpy as np

from unveil.stats.tail import MAX_EXCEEDANCES, MIN_EXCEEDANCES, SHARE
from unveil.types import Floats

# The probability that chance separates any score of a group, where its tail is not heavier than exponential.
LEVEL = 0.01
# Fewer scores show no gap.
FEWEST = 10


def without_outliers(scores: Floats) -> Floats:
    """The scores (N,), highest first, without those that a gap separates from the others; at least half of them stay.

    By chance, the gap below the k highest scores, times k, is distributed like those of the scores that follow
    (Rényi 1953, doi:10.1007/BF02127580: exponential spacings). The widest gap that chance does not explain is cut,
    until none is left. So a group of outliers does not hide itself, however many they are.
    """
    descending = np.sort(np.asarray(scores, np.float64))[::-1]
    first, most = 0, len(descending) // 2
    while len(descending) - first >= FEWEST:
        n = len(descending) - first
        spacings = -np.diff(descending[first:]) * np.arange(1, n)
        at = np.arange(1, n // 2 + 1)
        length = np.minimum(n - 1 - at, min(MAX_EXCEEDANCES, max(MIN_EXCEEDANCES, int(n * SHARE))))
        sums = np.concatenate([[0.0], np.cumsum(spacings)])
        following = np.maximum(sums[at + length] - sums[at], np.finfo(np.float64).tiny)
        log_p = -length * np.log1p(spacings[at - 1] / following)
        widest = int(at[log_p.argmin()])
        if log_p.min() >= np.log(LEVEL / n) or first + widest > most:
            break
        first += widest
    return descending[first:]
