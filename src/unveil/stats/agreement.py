"""Agreement of reviewers: Cohen's kappa of two, Krippendorff's alpha of any number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Ints

RESAMPLES = 1000
# The category where a reviewer has no verdict.
MISSING = -1


def cohen_kappa(a: Ints, b: Ints, rng: np.random.Generator) -> Estimate | None:
    """Cohen's kappa (1960, doi:10.1177/001316446002000104) of two reviewers' categories (N,), with MISSING for none.

    None where it is undefined: without a pair in common, or with a single category. The interval is a bootstrap over
    pairs and assumes that they are independent.
    """
    both = (a != MISSING) & (b != MISSING)
    return _estimate(np.column_stack([a[both], b[both]]), _kappa, rng, "Cohen's kappa")


def krippendorff_alpha(categories: Ints, rng: np.random.Generator) -> Estimate | None:
    """Krippendorff's alpha for nominal data (doi:10.1080/19312450709336664) of categories (N pairs, R reviewers).

    MISSING stands for no verdict. None where alpha is undefined. The interval is a bootstrap over pairs and assumes
    that they are independent.
    """
    twice = (categories != MISSING).sum(1) >= 2
    return _estimate(categories[twice], _alpha, rng, "Krippendorff's alpha, nominal")


def _estimate(
    rows: Ints, measure: Callable[[Ints], float | None], rng: np.random.Generator, name: str
) -> Estimate | None:
    value = measure(rows)
    if value is None:
        return None
    resampled = [measure(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLES)]
    defined = [v for v in resampled if v is not None] or [value]
    low, high = (float(v) for v in np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(
        value, min(low, value), max(high, value), LEVEL, len(rows), f"{name}, {RESAMPLES} bootstraps over pairs"
    )


def _kappa(rows: Ints) -> float | None:
    if not len(rows):
        return None
    observed = float((rows[:, 0] == rows[:, 1]).mean())
    first, second = (np.bincount(rows[:, i], minlength=int(rows.max()) + 1) / len(rows) for i in (0, 1))
    expected = float(first @ second)
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def _alpha(rows: Ints) -> float | None:
    if not len(rows):
        return None
    counts = np.column_stack([(rows == category).sum(1) for category in range(int(rows.max()) + 1)]).astype(np.float64)
    n_verdicts = counts.sum(1)
    agreeing = float((counts * (counts - 1) / (n_verdicts - 1)[:, None]).sum())
    n, of_category = float(counts.sum()), counts.sum(0)
    expected = n * n - float(of_category @ of_category)
    return None if expected <= 0 else 1 - (n - 1) * (n - agreeing) / expected
