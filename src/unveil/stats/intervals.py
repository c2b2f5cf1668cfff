"""Numbers with intervals: shares, counts, differences."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.types import Estimate, Floats, Probability

LEVEL = 0.95
# Half the width of a normal interval, in standard errors.
NORMAL = 1.959963984540054  # of the normal distribution; scipy.stats takes half a second to import


def share(k: int, n: int, method: str = "share") -> Estimate:
    """k / n with the Clopper-Pearson interval (1934, doi:10.1093/biomet/26.4.404), exact for independent people."""
    tail = (1 - LEVEL) / 2
    low = float(scipy.stats.beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(scipy.stats.beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return Estimate(k / n if n else 0.0, low, high, LEVEL, n, f"{method}, Clopper-Pearson")


def binomial_p(k: int, n: int, by_chance: float) -> Probability:
    """The probability that at least ``k`` of ``n`` independent people have what a share ``by_chance`` has."""
    return float(scipy.stats.binom.sf(k - 1, n, by_chance))


def exact_count(value: float, n: int, what: str) -> Estimate:
    """A number that was counted over all ``n`` and not estimated; its interval is the number."""
    return Estimate(float(value), float(value), float(value), 1.0, n, f"{what}, counted in full")


def difference(a: Floats, b: Floats, scale: float, method: str) -> Estimate:
    """(mean of a - mean of b) / scale for independent people a (N,) and b (M,), with a normal interval.

    It is 0 without people or variation.
    """
    # Equal numbers differ by rounding alone.
    rounding = 1e-9 * float(max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0)))
    if not len(a) or not len(b) or scale <= rounding:
        return Estimate(0.0, 0.0, 0.0, LEVEL, len(a) + len(b), method)
    value = float(a.mean() - b.mean()) / scale
    half = NORMAL * float(np.sqrt(a.var() / len(a) + b.var() / len(b))) / scale
    return Estimate(value, value - half, value + half, LEVEL, len(a) + len(b), f"{method}, normal interval over people")


def standardised_difference(a: Floats, b: Floats, what: str) -> Estimate:
    """Cohen's d: the difference of the means of a (N,) and b (M,) in standard deviations, with a normal interval."""
    pooled = float(np.sqrt((a.var() + b.var()) / 2)) if len(a) and len(b) else 0.0
    return difference(a, b, pooled, f"difference of {what} in standard deviations (Cohen's d)")
