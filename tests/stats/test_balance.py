"""Balance of training and control people: prognostic scores, matching, and what a mismatch does without them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from tests.builders import examples
from unveil.stats.balance import classifier_auc, fit_prognostic_score, match_people, prognostic_shift
from unveil.stats.enrichment import global_test
from unveil.stats.membership import auc
from unveil.stats.person_tests import person_tests


def crowd(rng: np.random.Generator, n: int, shift: float, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features of n people, the first moved by ``shift``, and exposures that depend on it and on chance."""
    features = rng.normal(size=(n, size))
    features[:, 0] += shift
    return features, 0.8 * features[:, 0] + 0.6 * rng.normal(size=n)


def test_prognostic_score_is_that_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x_t, _ = crowd(rng, 300, 0)
    x_c, y_c = crowd(rng, 800, 0)
    ours = fit_prognostic_score(x_t, x_c, y_c, rng)
    scaled = StandardScaler().fit(x_c)
    reference = RidgeCV(np.geomspace(1e-2, 1e3, 30)).fit(scaled.transform(x_c), y_c)
    assert np.corrcoef(ours.training, reference.predict(scaled.transform(x_t)))[0, 1] > 0.995
    assert np.corrcoef(ours.control, y_c)[0, 1] == pytest.approx(0.8, abs=0.05)


def test_prognostic_score_does_not_use_the_own_exposure() -> None:
    """Features that predict nothing must not give a score that follows the exposure."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 60)), rng.normal(size=120)
    prognosis = fit_prognostic_score(rng.normal(size=(120, 60)), x, y, rng)
    assert abs(np.corrcoef(prognosis.control, y)[0, 1]) < 0.25


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (0.5, 0.4), (-1.0, -0.8)])
def test_shift_is_the_difference_for_other_reasons(shift: float, expected: float) -> None:
    rng = np.random.default_rng(2)
    x_t, _ = crowd(rng, 1500, shift)
    x_c, y_c = crowd(rng, 1500, 0)
    estimate = prognostic_shift(fit_prognostic_score(x_t, x_c, y_c, rng), y_c)
    assert estimate.low - 0.05 <= expected <= estimate.high + 0.05
    assert estimate.value == pytest.approx(expected, abs=0.1)


def test_shift_holds_its_level_where_nothing_differs() -> None:
    rng = np.random.default_rng(3)
    outside = 0
    for _ in range(200):
        x_t, _ = crowd(rng, 150, 0)
        x_c, y_c = crowd(rng, 150, 0)
        estimate = prognostic_shift(fit_prognostic_score(x_t, x_c, y_c, rng), y_c)
        outside += not estimate.low <= 0 <= estimate.high
    # The model of a fold errs equally for both sides, so intervals nearly hold: 5% and Monte Carlo error.
    assert outside <= 22


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_classifier_auc_equals_a_logistic_classifier(shift: float) -> None:
    rng = np.random.default_rng(4)
    a, b = crowd(rng, 900, shift)[0], crowd(rng, 600, 0)[0]
    ours = classifier_auc(a, b, rng)
    label = np.r_[np.ones(900), np.zeros(600)]
    score = cross_val_predict(LogisticRegression(), np.r_[a, b], label, cv=5, method="decision_function")
    assert ours.value == pytest.approx(auc(score[:900], score[900:]), abs=0.02)
    assert ours.low <= ours.value <= ours.high


@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(1, 400), st.integers(1, 3))
@examples(60)
def test_matched_cells_hold_equal_parts(seed: int, n_t: int, n_c: int, n_strata: int) -> None:
    rng = np.random.default_rng(seed)
    score_t, score_c = rng.normal(0.3, 1, n_t), rng.normal(size=n_c)
    strata_t, strata_c = rng.integers(n_strata, size=n_t), rng.integers(n_strata, size=n_c)
    keep_t, keep_c = match_people(score_t, score_c, strata_t, strata_c, rng)
    assert keep_t.shape == (n_t,) and keep_c.shape == (n_c,)
    assert keep_t.any() == keep_c.any() or not keep_c.any()
    edges = np.quantile(np.r_[score_t, score_c], np.linspace(0, 1, 11)[1:-1])
    cells_t = np.searchsorted(edges, score_t) * n_strata + strata_t
    cells_c = np.searchsorted(edges, score_c) * n_strata + strata_c
    ratios = []
    for cell in range(10 * n_strata):
        mine, theirs = keep_t[cells_t == cell], keep_c[cells_c == cell]
        assert mine.all() or not mine.any(), "a cell takes part as a whole"
        if mine.any():
            ratios.append((theirs.sum(), len(mine)))
        else:
            assert not theirs.any()
    if ratios:
        ratio = min(n / m for n, m in ratios)
        # Each cell has the same number of control people for each training person, but for rounding.
        assert all(abs(n - m * ratio) <= 1 + m * 1.0 / min(m for _, m in ratios) for n, m in ratios)


def test_a_mismatch_would_find_leaks_where_there_are_none_and_matching_does_not() -> None:
    """Training people come from a group that is closer to the synthetic set; none of them leaked."""
    unmatched = matched = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x_t, y_t = crowd(rng, 800, 0.7)
        x_c, y_c = crowd(rng, 1600, 0)
        unmatched += global_test(y_t, y_c).p_value <= 0.01
        prognosis = fit_prognostic_score(x_t, x_c, y_c, rng)
        strata = np.zeros(800, np.int64), np.zeros(1600, np.int64)
        keep_t, keep_c = match_people(prognosis.training, prognosis.control, *strata, rng)
        assert keep_t.sum() > 500 and keep_c.sum() > 200
        matched += global_test(y_t[keep_t], y_c[keep_c]).p_value <= 0.01
    assert unmatched >= 35
    assert matched <= 4


def test_matching_costs_no_leaks() -> None:
    rng = np.random.default_rng(5)
    x_t, y_t = crowd(rng, 800, 0.7)
    x_c, y_c = crowd(rng, 1600, 0)
    y_t[:40] += 6
    prognosis = fit_prognostic_score(x_t, x_c, y_c, rng)
    keep_t, keep_c = match_people(
        prognosis.training, prognosis.control, np.zeros(800, np.int64), np.zeros(1600, np.int64), rng
    )
    significant = person_tests(y_t[keep_t], y_c[keep_c]).conformal(0.05)
    assert significant[keep_t[:800].nonzero()[0] < 40].mean() > 0.9


def test_strata_without_comparable_people_are_not_tested() -> None:
    rng = np.random.default_rng(6)
    score = rng.normal(size=300)
    keep_t, keep_c = match_people(score[:100], score[100:], np.repeat([0, 1], 50), np.zeros(200, np.int64), rng)
    assert not keep_t[50:].any() and keep_t[:50].sum() > 25 and keep_c.any()
    nobody = match_people(score[:10], score[10:20], np.zeros(10, np.int64), np.ones(10, np.int64), rng)
    assert not nobody[0].any() and not nobody[1].any()
