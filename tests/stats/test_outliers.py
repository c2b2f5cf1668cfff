"""Scores beyond a gap are outliers, however many they are; those of chance are not."""

from __future__ import annotations

import numpy as np
import pytest

from unveil.stats.outliers import without_outliers


@pytest.mark.parametrize("n", [10, 60, 300, 3000])
def test_chance_leaves_all(n: int) -> None:
    rng = np.random.default_rng(n)
    for draw in (rng.normal, rng.gumbel, rng.exponential, rng.logistic):
        cut = sum(len(without_outliers(draw(size=n))) < n for _ in range(50))
        assert cut <= 1
    assert len(without_outliers(np.zeros(n))) == n


@pytest.mark.parametrize("n_outliers", [1, 2, 5, 30, 100])
def test_a_group_does_not_hide_itself(n_outliers: int) -> None:
    rng = np.random.default_rng(n_outliers)
    scores, high = rng.normal(size=300), rng.normal(20, 0.5, n_outliers)
    assert without_outliers(np.concatenate([scores, high])).tolist() == sorted(scores, reverse=True)
    spread = rng.uniform(8, 22, n_outliers)
    assert without_outliers(np.concatenate([scores, spread])).max() < 8


@pytest.mark.parametrize("n", range(12))
def test_few_scores_show_nothing(n: int) -> None:
    scores = np.arange(n, dtype=float)
    assert without_outliers(scores).tolist() == scores[::-1].tolist()
    high = np.where(scores == n - 1, 100.0, scores)
    assert len(without_outliers(high)) >= (n + 1) // 2
