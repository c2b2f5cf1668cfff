"""Power, kinds of leak, false matches and limits of numbers of people: by hand, and against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.builders import examples
from unveil.stats.conformal import conformal_p, conformal_q
from unveil.stats.enrichment import global_test, min_exposed, min_exposed_by_any
from unveil.stats.false_matches import false_matches
from unveil.stats.intervals import difference, exact_count, share, standardised_difference
from unveil.stats.leak_kinds import DEFAULT_THRESHOLDS, SSCD_THRESHOLD, ImageSimilarity, calibrate_thresholds
from unveil.stats.person_tests import benjamini_hochberg, exposed, person_tests
from unveil.stats.power import (
    Recall,
    detection_threshold,
    lowest_significant,
    recall,
    strongest_found,
    would_be_significant,
)


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.01, 0.05, 0.2]), st.integers(0, 40))
@examples(60)
def test_detection_threshold_is_that_of_new_tests(seed: int, additional: int, q: float, leaks: int) -> None:
    """Against adding people with the score to the training set and testing again."""
    rng = np.random.default_rng(seed)
    training, control = rng.normal(size=rng.integers(40, 200)), rng.normal(size=rng.integers(40, 300))
    training[: min(leaks, len(training))] += 5
    decision = person_tests(training, control)
    threshold = detection_threshold(decision, additional, q)
    for score in (*rng.normal(2, 2, 4), control.max(), control.max() + 1e-9, 50.0):
        found = would_be_significant(np.array([score]), control, decision, threshold)[0]
        others = np.sort(training)[additional:]
        again = person_tests(np.r_[np.full(additional, score), others], control)
        assert found == bool((again.conformal(q) | again.gpd(q))[0])


def test_lowest_significant_score_is_the_smallest() -> None:
    rng = np.random.default_rng(0)
    training, control = rng.normal(size=500), rng.normal(size=400)
    decision = person_tests(training, control)
    threshold = detection_threshold(decision, 1, 0.05)
    lowest = lowest_significant(control, decision, threshold)
    assert lowest is not None and lowest > control.max()
    assert would_be_significant(np.array([lowest, lowest - 1e-6]), control, decision, threshold).tolist() == [
        True,
        False,
    ]
    few = person_tests(training, control[:40])
    assert few.tail is None and lowest_significant(control[:40], few, detection_threshold(few, 1, 0.05)) is None


def test_recall_counts_images_without_a_face_as_not_found() -> None:
    rng = np.random.default_rng(1)
    training, control = rng.normal(size=500), rng.normal(size=400)
    decision = person_tests(training, control)
    one, many = detection_threshold(decision, 1, 0.05), detection_threshold(decision, 25, 0.05)
    found = recall("blur", "2 px", np.array([50.0, 50.0, -np.inf, 0.0]), control, decision, one, many)
    assert (found.one_leak.value, found.one_leak.n, found.not_detected) == (0.5, 4, 1)
    assert found.many_leaks.value >= found.one_leak.value
    exact = stats.binomtest(2, 4).proportion_ci(0.95, "exact")
    assert (found.one_leak.low, found.one_leak.high) == pytest.approx((exact.low, exact.high))


def test_many_leaks_together_need_less_than_one_alone() -> None:
    rng = np.random.default_rng(2)
    training, control = rng.normal(size=1000), rng.normal(size=1000)
    decision = person_tests(training, control)
    lowest = [lowest_significant(control, decision, detection_threshold(decision, n, 0.05)) for n in (1, 50)]
    assert lowest[0] is not None and lowest[1] is not None and lowest[1] < lowest[0]


def test_strongest_found_stops_at_the_first_that_fails() -> None:
    def step(strength: str, k: int) -> Recall:
        return Recall("blur", strength, share(k, 100), share(k, 100), 0)

    assert strongest_found([step("1", 99), step("2", 95), step("3", 90), step("4", 99)]) == step("2", 95)
    assert strongest_found([step("1", 94)]) is None


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20))
@examples(40)
def test_fewest_exposed_is_the_first_removal_that_passes(seed: int, n_t: int, n_c: int, leaks: int) -> None:
    rng = np.random.default_rng(seed)
    training, control = rng.integers(6, size=n_t).astype(np.float64), rng.integers(6, size=n_c).astype(np.float64)
    training[:leaks] += 4
    slow = next((m for m in range(n_t) if global_test(np.sort(training)[: n_t - m], control).p_value > 0.05), n_t)
    assert min_exposed(training, control, 0.05) == slow


def test_fewest_exposed_is_a_95_percent_limit() -> None:
    rng = np.random.default_rng(3)
    limits = []
    for _ in range(300):
        training, control = rng.normal(size=300), rng.normal(size=200)
        training[:40] += 3
        limits.append(min_exposed(training, control, 0.05))
    assert np.mean(np.array(limits) > 40) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.median(limits) > 15
    estimate = exposed([(training, control)], 3)
    assert estimate.low == limits[-1] and estimate.value == max(limits[-1], 3) and estimate.high == 300
    assert exposed([(rng.normal(size=50), rng.normal(size=50))], 0).low == 0


def test_the_limit_of_several_scores_is_a_95_percent_limit_and_finds_what_one_shows() -> None:
    rng = np.random.default_rng(4)
    limits, single = [], []
    for _ in range(200):
        training, control = rng.normal(size=(2, 300)), rng.normal(size=(2, 200))
        training[1, :40] += 3
        both = (training.max(0), control.max(0))
        tested = [both, (training[0], control[0]), (training[1], control[1])]
        limits.append(min_exposed_by_any(tested, 0.05))
        single.append([min_exposed(*score, 0.05 / 3) for score in tested])
    assert np.mean(np.array(limits) > 40) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.array_equal(limits, np.max(single, axis=1)) and np.median(limits) > 12
    assert exposed(tested, 0).low == limits[-1]


def test_smallest_global_p_is_that_of_perfect_separation() -> None:
    for n_t, n_c in ((5, 50), (40, 10), (100, 100)):
        found = global_test(np.linspace(100, 200, n_t), np.linspace(0, 1, n_c))
        assert found.p_value == pytest.approx(found.smallest_p)


def test_false_matches_by_hand() -> None:
    control, training = np.array([0.9, 0.8, 0.8, 0.5]), np.array([0.95, 0.85, 0.85, 0.6])
    table = false_matches(
        *(control, np.array([0, 1, 1, 2]), 10, 1000),
        *(training, np.array([7, 7, 3, 3]), np.array([1, 1, 0, 0]), 2000),
        np.random.default_rng(0),
    )
    (top,) = table
    assert (top.cosine, top.observed, top.observed_people, top.max_pairs_per_training_image, top.saturated) == (
        0.9,
        1,
        1,
        1,
        False,
    )
    assert top.false_match_rate.value == 1 / 1000 and top.expected.value == 2
    assert top.expected.low == 0 and top.expected.high >= 4


def test_false_matches_are_expected_as_often_as_they_come() -> None:
    """Without a leak and without hubs, the interval of what is expected covers what comes."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(120):
        n = 300
        score = rng.normal(size=(200, 2 * n))
        sides = []
        for side in (score[:, :n], score[:, n:]):
            order = np.argsort(-side, axis=None)[:10_000]
            sides.append((side.ravel()[order], order % n))
        (c, person_c), (t, person_t) = sides
        table = false_matches(c, person_c, n, 200 * n, t, person_t, person_t, 200 * n, rng)
        hundred = table[1]
        # Both sides vary: twice the variance of what the interval is for.
        half = (hundred.expected.high - hundred.expected.low) / 2 * np.sqrt(2)
        covered.append(abs(hundred.observed - hundred.expected.value) <= half)
    assert np.mean(covered) > 0.88


def test_false_matches_report_when_there_were_more() -> None:
    same = np.full(5, 0.9)
    zeros = np.zeros(5, np.int64)
    (row,) = false_matches(same[:1], zeros[:1], 3, 10, same, zeros, zeros, 50, np.random.default_rng(0))
    assert row.saturated and row.observed == 5


def similarity(correlation: float, detail: float, bits: float, **more: object) -> ImageSimilarity:
    return ImageSimilarity(correlation, detail, bits, **more)  # type: ignore[arg-type]


def test_kinds_by_hand() -> None:
    thresholds = calibrate_thresholds([])
    assert (
        thresholds.correlation,
        thresholds.detail,
        thresholds.bits,
    ) == DEFAULT_THRESHOLDS
    assert not thresholds.calibrated
    for pair, kind in (
        (similarity(0.1, 0.1, 120, identical=True), "exact copy"),
        (similarity(0.995, 0.9, 4), "near-identical copy"),
        (similarity(0.965, 0.7, 2), "near-identical copy"),  # a mirrored photograph, whose face was detected anew
        (similarity(0.965, 0.7, 16), "similar image"),
        (similarity(0.92, 0.7, 2), "similar image"),
        (similarity(0.995, 0.3, 40), "similar image"),
        (similarity(0.95, 0.1, 120), "similar image"),
        (similarity(0.2, 0.6, 120), "similar image"),
        (similarity(0.2, 0.1, 50), "similar image"),
        (similarity(0.2, 0.1, 120, copy_cosine=0.9), "similar image"),
        (similarity(0.6, 0.2, 110, copy_cosine=0.5), "identity match"),
    ):
        assert thresholds.kind(pair) == kind


def test_kinds_are_calibrated_on_images_of_one_person() -> None:
    rng = np.random.default_rng(4)
    mated = [
        similarity(*row)
        for row in np.column_stack([rng.normal(0.5, 0.15, 400), rng.normal(0.2, 0.05, 400), rng.normal(110, 8, 400)])
    ]
    thresholds = calibrate_thresholds(mated)
    assert thresholds.calibrated and thresholds.n_mated == 400 and thresholds.false_copy_rate is not None
    assert thresholds.false_copy_rate.value <= 0.035 and thresholds.false_copy_rate.high <= 0.06
    assert thresholds.correlation == pytest.approx(np.quantile([m.correlation for m in mated], 0.99))
    # Images that are in the set twice do not raise the thresholds.
    twice = calibrate_thresholds([*mated, *(similarity(1, 1, 0, identical=True) for _ in range(30))])
    assert (twice.correlation, twice.n_mated) == (thresholds.correlation, 400)
    network = calibrate_thresholds([similarity(0.5, 0.2, 110, copy_cosine=float(c)) for c in rng.uniform(0, 0.5, 100)])
    assert network.copy_cosine == SSCD_THRESHOLD


def test_differences_equal_scipy() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.4, 1, 300), rng.normal(0, 2, 500)
    estimate = difference(a, b, 1.0, "x")
    reference = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=0.01)
    d = standardised_difference(a, b, "x")
    assert d.value == pytest.approx((a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2))
    constant = standardised_difference(np.full(10, np.log2(96)), np.full(30, np.log2(96)), "x")
    assert constant.value == 0
    assert exact_count(3, 10, "x").low == 3


def test_decisions_of_a_score_are_those_of_its_parts() -> None:
    rng = np.random.default_rng(6)
    training, control = rng.normal(size=300), rng.normal(size=200)
    decision = person_tests(training, control)
    assert np.array_equal(decision.p, conformal_p(training, control))
    assert np.array_equal(decision.q, conformal_q(decision.p, 200))
    assert decision.q_gpd is not None and decision.p_gpd is not None
    assert np.array_equal(decision.q_gpd, benjamini_hochberg(decision.p_gpd))
    assert decision.global_test == global_test(training, control)
    assert not person_tests(training, control[:20]).gpd(0.5).any()
