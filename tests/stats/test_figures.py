"""Exposure, membership, hubness, thresholds and verdicts: against scikit-learn, SciPy and slow references."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from tests.builders import examples
from unveil.stats.checks import Check, spread
from unveil.stats.exposure import exposures, matched_counts, subsample_images
from unveil.stats.hubness import chance_best_matches, closeness, count_hubness, person_codes
from unveil.stats.intervals import exact_count, share
from unveil.stats.membership import auc, auc_estimate, roc, tpr_at_fpr
from unveil.stats.statements import AGAINST_CONTROL, ALL_BUT_FACTS, Evidence, Statement
from unveil.stats.verdict import calibrated_evidence, calibrated_verdict, search_verdict
from unveil.types import Estimate


def figure(value: float) -> Estimate:
    """An exact figure."""
    return exact_count(value, 100, "made up")


sides = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=30).map(np.array)
counts = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(np.array)


@given(sides, sides)
def test_auc_and_roc_equal_scikit_learn(training: np.ndarray, control: np.ndarray) -> None:
    label = np.r_[np.ones(len(training)), np.zeros(len(control))]
    score = np.r_[training, control]
    assert auc(training, control) == pytest.approx(roc_auc_score(label, score))
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    ours = roc(training, control)
    assert np.allclose(ours[0], fpr) and np.allclose(ours[1], tpr)


@given(sides, sides, st.sampled_from([0.1, 0.01, 0.5]))
def test_tpr_at_fpr_is_the_best_that_the_rate_allows(training: np.ndarray, control: np.ndarray, fpr: float) -> None:
    estimate = tpr_at_fpr(training, control, fpr)
    allowed = [
        float((training > threshold).mean())
        for threshold in np.r_[-1, training, control]
        if (control > threshold).sum() <= fpr * len(control) + 1e-9
    ]
    assert estimate.value == pytest.approx(max(allowed))
    assert estimate.n == len(training)


@given(st.integers(1, 200), st.data())
def test_share_equals_scipy(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    exact = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    ours = share(k, n)
    assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high))
    assert ours.n == n and ours.value == k / n


def test_bootstrap_of_the_area_covers_and_equals_plain_resampling() -> None:
    rng = np.random.default_rng(0)
    training, control = rng.normal(0.5, 1, 80), rng.normal(size=90)
    estimate = auc_estimate(training, control, np.random.default_rng(1))
    drawn = [auc(training[rng.integers(80, size=80)], control[rng.integers(90, size=90)]) for _ in range(2000)]
    assert estimate.value == auc(training, control)
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


@given(counts, counts, st.integers(0, 2**32))
def test_matched_counts_are_alike_and_never_larger(a: np.ndarray, b: np.ndarray, seed: int) -> None:
    cut_a, cut_b = matched_counts(a, b, np.random.default_rng(seed))
    assert (cut_a <= a).all() and (cut_b <= b).all()
    assert (cut_a >= 1).all() and (cut_b >= 1).all()
    if len(a) == len(b):
        assert np.array_equal(np.sort(cut_a), np.sort(cut_b))


def test_matched_counts_of_unequal_sets_have_one_distribution() -> None:
    rng = np.random.default_rng(0)
    a, b = 1 + rng.geometric(0.1, 3000), 1 + rng.geometric(0.3, 500)
    cut_a, cut_b = matched_counts(a, b, rng)
    assert stats.ks_2samp(a, b).pvalue < 1e-6
    assert np.abs(np.quantile(cut_a, [0.1, 0.5, 0.9]) - np.quantile(cut_b, [0.1, 0.5, 0.9])).max() <= 1
    assert cut_a.mean() == pytest.approx(cut_b.mean(), rel=0.02)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 2**32))
def test_subsampled_images_are_as_many_as_requested(codes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, own = person_codes([str(c) for c in codes])
    wanted = np.array([rng.integers(0, n + 1) for n in np.bincount(own)])
    rows = subsample_images(own, wanted, rng)
    assert np.array_equal(np.bincount(own[rows], minlength=len(wanted)), wanted)
    assert (np.diff(rows) > 0).all()


def test_unmatched_counts_would_look_like_exposure_and_matched_do_not() -> None:
    """Nothing leaks, but training people have ten images and control people two."""
    rng = np.random.default_rng(3)
    people_t, people_c = np.repeat(np.arange(400), 10).astype(str), np.repeat(np.arange(400), 2).astype(str)
    score_t, score_c = rng.normal(size=4000), rng.normal(size=800)
    nobody = np.zeros(4000, np.int64)

    def area(rows_t: np.ndarray | None, rows_c: np.ndarray | None) -> float:
        a = exposures(list(people_t), nobody, score_t, score_t, nobody, rows_t)
        b = exposures(list(people_c), nobody[:800], score_c, score_c, nobody[:800], rows_c)
        return auc(a.score, b.score)

    codes_t, codes_c = person_codes(list(people_t))[1], person_codes(list(people_c))[1]
    cut_t, cut_c = matched_counts(np.bincount(codes_t), np.bincount(codes_c), rng)
    assert area(None, None) > 0.75
    assert abs(area(subsample_images(codes_t, cut_t, rng), subsample_images(codes_c, cut_c, rng)) - 0.5) < 0.05


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=50), st.integers(0, 2**32))
def test_exposures_are_each_persons_best(rows: list[tuple[int, int]], seed: int) -> None:
    people = [f"p{p}" for p, _ in rows]
    score = np.array([float(s) for _, s in rows])
    query = np.random.default_rng(seed).integers(100, size=len(rows))
    found = exposures(people, query, score, score / 10, query)
    assert set(found.people) == set(people)
    for i, person in enumerate(found.people):
        own = [j for j, p in enumerate(people) if p == person]
        best = max(own, key=lambda j: (score[j], -j))
        assert found.best_pair[i].tolist() == [query[best], best]
        assert (found.score[i], found.cosine[i], found.n_images[i]) == (score[best], score[best] / 10, len(own))


def test_closeness_and_hubs() -> None:
    assert closeness(np.array([[0.9, 0.5], [0.4, 0.2]])) == pytest.approx([0.7, 0.3])
    assert closeness(np.zeros((3, 0))).tolist() == [0, 0, 0]
    hubs = count_hubness(np.array([5, 5, 5, 2, 2, 7]), np.array([5, 2, 2, 2]), 10)
    assert [(h.row, h.n_best_match_of, h.in_top_pairs) for h in hubs] == [(5, 3, 1), (2, 2, 3)]


def test_spread_is_one_minus_the_mean_cosine_of_others() -> None:
    x = np.eye(4, dtype=np.float32)
    assert spread(x) == 1
    assert spread(np.ones((5, 1), np.float32)) == 0
    y = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    assert spread(y) == pytest.approx(1 - 1 / 3)


STATEMENTS = st.sets(st.sampled_from(get_args(Statement)))


@examples(60)
@given(st.floats(0, 1), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), STATEMENTS, st.booleans())
def test_a_failed_check_blocks_what_it_invalidates_and_nothing_else(
    p: float, n_conformal: int, n_gpd: int, identities: int, invalidates: set[Statement], fails: bool
) -> None:
    checks = [Check("x", "fail" if fails else "warn", figure(0), "why", tuple(invalidates))]
    found = calibrated_evidence(p, 0.01, n_conformal, n_gpd, identities)
    assert ("global test" in found, "conformal" in found) == (p <= 0.01, n_conformal > 0)
    verdict, evidence = calibrated_verdict(checks, found)
    assert set(evidence) == set(found) - (invalidates if fails else set())
    if evidence:
        assert verdict == "leak found"
    else:
        assert verdict == ("inconclusive" if fails and "none detected" in invalidates else "none detected")


def test_verdict_without_control() -> None:
    none, leak = "none detected (no control set)", "leak indicated (no control set)"
    found: list[Evidence] = ["crowd test", "conformal search"]

    def verdict(evidence: list[Evidence] | None, *invalidates: Statement) -> tuple[str, tuple[str, ...]]:
        return search_verdict([Check("x", "fail", figure(0), "why", invalidates)], evidence)

    assert verdict(found) == (leak, tuple(found)) and verdict([]) == (none, ())
    assert verdict(None) == ("inconclusive", ())
    assert verdict(found, "identities") == (leak, tuple(found))
    assert verdict(found, "crowd test") == (leak, ("conformal search",))
    assert verdict(found, *ALL_BUT_FACTS) == verdict([], "none detected") == ("inconclusive", ())
    assert verdict(found, *AGAINST_CONTROL)[0] == leak, "tests against control people are others"


@pytest.mark.parametrize(("n_queries", "n_rows"), [(520, 400), (10, 1), (1000, 20), (50_000, 150_000)])
def test_how_often_chance_makes_a_row_the_best_match(n_queries: int, n_rows: int) -> None:
    limit = chance_best_matches(n_queries, n_rows)
    if n_rows == 1:
        assert limit == n_queries
        return
    beyond = n_rows * stats.binom.sf([limit - 1, limit], n_queries, 1 / n_rows)
    assert beyond[1] <= 0.05 < beyond[0]
