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
    n_categories = int(categories.max(initial=0)) + 1
    counts = np.column_stack([(categories == category).sum(1) for category in range(n_categories)])
    return _estimate(counts[counts.sum(1) >= 2], _alpha, rng, "Krippendorff's alpha, nominal")


def _estimate(
    rows: Ints, measure: Callable[[Ints, Ints], float | None], rng: np.random.Generator, name: str
) -> Estimate | None:
    # Pairs with the same verdicts are counted together: few kinds of pairs, however many pairs and reviewers.
    kinds, n_pairs = np.unique(rows, axis=0, return_counts=True)
    value = measure(kinds, n_pairs)
    if value is None:
        return None
    resampled = [measure(kinds, rng.multinomial(len(rows), n_pairs / len(rows))) for _ in range(RESAMPLES)]
    defined = [v for v in resampled if v is not None] or [value]
    low, high = (float(v) for v in np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(
        value, min(low, value), max(high, value), LEVEL, len(rows), f"{name}, {RESAMPLES} bootstraps over pairs"
    )


def _kappa(kinds: Ints, n_pairs: Ints) -> float | None:
    """Kappa of pairs (N,) of each kind: two categories (N, 2)."""
    n = int(n_pairs.sum())
    if not n:
        return None
    observed = float(n_pairs[kinds[:, 0] == kinds[:, 1]].sum() / n)
    n_categories = int(kinds.max()) + 1
    first, second = (np.bincount(kinds[:, i], n_pairs, minlength=n_categories) / n for i in (0, 1))
    expected = float(first @ second)
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def _alpha(kinds: Ints, n_pairs: Ints) -> float | None:
    """Alpha of pairs (N,) of each kind: verdicts of each category (N, C), at least two in a row."""
    if not n_pairs.sum():
        return None
    counts, times = kinds.astype(np.float64), n_pairs.astype(np.float64)
    agreeing = float(times @ (counts * (counts - 1) / (counts.sum(1) - 1)[:, None]).sum(1))
    of_category = times @ counts
    n = float(of_category.sum())
    expected = n * n - float(of_category @ of_category)
    return None if expected <= 0 else 1 - (n - 1) * (n - agreeing) / expected
