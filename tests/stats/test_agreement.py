"""Agreement of reviewers against scikit-learn and published figures."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from unveil.stats import agreement
from unveil.stats.agreement import MISSING, cohen_kappa, krippendorff_alpha


@pytest.mark.parametrize("seed", range(20))
def test_cohen_as_scikit_learn_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, 60)
    b = np.where(rng.random(60) < 0.7, a, rng.integers(0, 3, 60))
    found = cohen_kappa(a, b, rng)
    assert found is not None and found.value == pytest.approx(cohen_kappa_score(a, b)) and found.n == 60
    a[:20] = MISSING
    found = cohen_kappa(a, b, rng)
    assert found is not None and found.value == pytest.approx(cohen_kappa_score(a[20:], b[20:])) and found.n == 40


def test_krippendorff_as_published() -> None:
    """Example C of Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): .743 for nominal data."""
    n = MISSING
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
        [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
    ]
    found = krippendorff_alpha(np.array(observers).T, np.random.default_rng(0))
    assert found is not None and round(found.value, 3) == 0.743 and found.n == 11


def test_pairs_may_be_counted_together() -> None:
    """The same verdicts on ten times as many pairs: the same values, with intervals a third as wide."""
    rng = np.random.default_rng(3)
    table = rng.integers(-1, 3, (60, 5))
    longer = np.tile(table, (10, 1))
    for few, many in (
        (cohen_kappa(table[:, 0], table[:, 1], rng), cohen_kappa(longer[:, 0], longer[:, 1], rng)),
        (krippendorff_alpha(table, rng), krippendorff_alpha(longer, rng)),
    ):
        assert few is not None and many is not None
        assert many.value == pytest.approx(few.value, abs=0.02)
        assert 2 < (few.high - few.low) / (many.high - many.low) < 5


def test_what_is_not_defined() -> None:
    rng = np.random.default_rng(0)
    one, none = np.zeros(5, np.int64), np.full(5, MISSING)
    assert cohen_kappa(one, one, rng) is None and cohen_kappa(one, none, rng) is None
    assert krippendorff_alpha(np.column_stack([one, none]), rng) is None
    assert krippendorff_alpha(np.column_stack([one, one]), rng) is None


def test_chance_is_zero_and_the_interval_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLES", 200)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        a, b = rng.integers(0, 3, (2, 80))
        found = krippendorff_alpha(np.column_stack([a, b]), rng)
        assert found is not None
        hits += found.low <= 0 <= found.high
    # 95 of 100 expected; fewer than 86 happen once in 4,000 times.
    assert hits >= 86
