"""p-values, q-values and competition: against SciPy, by hand, and by simulation where chance is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.builders import examples
from unveil.stats.conformal import chance_share, conformal_p, conformal_q, cutoff, min_significant, share_with
from unveil.stats.enrichment import global_test, global_test_by_any
from unveil.stats.person_tests import benjamini_hochberg
from unveil.stats.tail import CAP, fit_tail, survival_of
from unveil.stats.target_decoy import compete
from unveil.types import Floats

scores = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=12).map(np.array)


def test_conformal_p_by_hand() -> None:
    p = conformal_p(np.array([0.9, 0.5, 0.1]), np.array([0.5, 0.2, 0.3, 0.1]))
    assert p.tolist() == [1 / 5, 2 / 5, 5 / 5]


@given(scores, scores)
def test_conformal_p_counts(score: np.ndarray, controls: np.ndarray) -> None:
    slow = [(1 + sum(c >= s for c in controls)) / (len(controls) + 1) for s in score]
    assert conformal_p(score, controls).tolist() == slow


def test_q_of_nobody_and_by_hand() -> None:
    assert len(benjamini_hochberg(np.zeros(0))) == 0
    # 4 p / rank from the largest down, each no larger than the one above it.
    assert benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_conformal_q_by_hand() -> None:
    # Against 99 control people the cutoff is p .1. 32 of 80 are above it, so the share is 33 / (80 * .9).
    p = np.concatenate([np.full(40, 0.01), np.full(8, 0.06), np.full(32, 0.5)])
    assert chance_share(p, 99) == pytest.approx(33 / 72)
    assert np.unique(conformal_q(p, 99)) == pytest.approx([0.01, 0.06, 0.5])  # never below p
    p[:30] = 0.5
    assert chance_share(p, 99) == pytest.approx(63 / 72)
    n = 80 * 63 / 72
    assert np.unique(conformal_q(p, 99)) == pytest.approx([0.01 * n / 10, 0.06 * n / 18, 0.5])


@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 120))
@examples(60)
def test_conformal_q_are_the_smallest_rates_of_a_step_up(seed: int, people: int, controls: int) -> None:
    """Against the procedure: the largest r with p_(r) <= min(rate, rate r / (people share))."""
    rng = np.random.default_rng(seed)
    training = rng.integers(60, size=people).astype(np.float64)
    control = rng.integers(50, size=controls).astype(np.float64)
    p = conformal_p(training, control)
    q, by_chance = conformal_q(p, controls), people * chance_share(p, controls)
    assert (q >= p - 1e-12).all()
    if min(people, controls) < 50:
        assert q == pytest.approx(benjamini_hochberg(p))
    r = np.arange(1, people + 1)
    for rate in (0.03, 0.1, 0.3):
        reach = rate * np.minimum(1, r / by_chance)
        passed = np.flatnonzero(np.sort(p) <= reach * (1 + 1e-12))
        limit = np.sort(p)[passed[-1]] if len(passed) else -1.0
        assert np.array_equal(q <= rate * (1 + 1e-12), p <= limit)


@pytest.mark.parametrize(("people", "controls"), [(50, 50), (50, 2000), (300, 300), (2000, 60), (700, 1800)])
def test_the_share_by_chance_is_large_enough_on_average(people: int, controls: int) -> None:
    """What the proof of the false discovery rate needs, exactly: where nobody leaks and one person has the smallest p,
    the mean of 1 / share is at most 1."""
    rank = round(cutoff(controls) * (controls + 1))
    # Of the other people, those above the control person of this rank (of control people and the one person).
    above = np.arange(people)
    probability = stats.nhypergeom.pmf(above, controls + people, people - 1, rank)
    inverse = [1 / share_with(people - 1 - int(k), people, controls) for k in above]
    assert probability.sum() == pytest.approx(1)
    assert 0.99 < float(probability @ np.array(inverse)) <= 1 + 1e-9


@pytest.mark.parametrize("leaked", [0.0, 0.3, 0.7])
def test_conformal_q_control_the_false_discovery_rate(leaked: float) -> None:
    rng = np.random.default_rng(8)
    people, runs, rate = 120, 1500, 0.1
    n = round(leaked * people)
    of_storey: list[tuple[float, int]] = []
    of_benjamini_hochberg: list[tuple[float, int]] = []
    for _ in range(runs):
        training, control = rng.gumbel(size=people), rng.gumbel(size=399)
        training[:n] += 4
        p = conformal_p(training, control)
        for q, into in ((conformal_q(p, 399), of_storey), (benjamini_hochberg(p), of_benjamini_hochberg)):
            significant = q <= rate
            into.append((significant[n:].sum() / max(1, significant.sum()), significant[:n].sum()))
    false, found = np.array(of_storey).T
    assert false.mean() <= rate + 3 * false.std() / np.sqrt(runs)
    if 0 < n < people / 2:
        assert found.mean() > 1.02 * np.array(of_benjamini_hochberg)[:, 1].mean()
        assert false.mean() > 0.85 * rate, "the rate is used up, whatever the share of people who leaked"
    if n > people / 2:
        assert false.mean() < 0.5 * rate, "nobody is named whose p is above the rate"


@pytest.mark.parametrize(
    ("people", "controls", "q"), [(1890, 1511, 0.05), (100, 100, 0.1), (400, 318, 0.05), (20, 999, 0.05)]
)
def test_min_significant_is_where_conformal_q_reach_the_rate(people: int, controls: int, q: float) -> None:
    fewest = min_significant(people, controls, q)
    for n, significant in ((fewest, True), (fewest - 1, False)):
        if 0 < n <= people:
            score = np.concatenate([np.full(n, 2.0), np.full(people - n, -1.0)])
            p = conformal_p(score, np.linspace(0, 1, controls))
            assert bool((benjamini_hochberg(p) <= q).any()) is significant
            share = chance_share(p, controls)
            fewest_here = min_significant(people, controls, q, share)
            assert bool((conformal_q(p, controls) <= q).any()) is (n >= fewest_here)


def test_global_test_by_hand() -> None:
    # Four training people above four control people: K runs over 1 and 2, and P(both of the top 2) = 4/8 * 3/7.
    found = global_test(np.array([9.0, 8, 7, 6]), np.array([1.0, 2, 3, 4]))
    assert found.p_value == pytest.approx(2 * 4 / 8 * 3 / 7)
    assert (found.top, found.training_in_top) == (2, 2)


def test_global_test_never_promises_too_much() -> None:
    """Over every way to call four of eight people training, P(p <= level) stays at or below the level."""
    score = np.arange(8.0)
    p = []
    for order in set(permutations([True] * 4 + [False] * 4)):
        is_training = np.array(order)
        p.append(global_test(score[is_training], score[~is_training]).p_value)
    for level in sorted(set(p)):
        assert np.mean([value <= level for value in p]) <= level + 1e-12


def test_several_scores_never_promise_too_much() -> None:
    """Over every way to call four of eight people training, of whom three scores give different ranks."""
    scores = [
        np.array(order)
        for order in ([7.0, 6, 5, 4, 3, 2, 1, 0], [0.0, 7, 1, 6, 2, 5, 3, 4], [3.0, 3, 1, 1, 2, 2, 0, 0])
    ]
    p = []
    for order in set(permutations([True] * 4 + [False] * 4)):
        is_training = np.array(order)
        tested = {str(i): (score[is_training], score[~is_training]) for i, score in enumerate(scores)}
        p.append(global_test_by_any(tested).p_value)
    for level in sorted(set(p)):
        assert np.mean([value <= level for value in p]) <= level + 1e-12


def test_evidence_in_one_channel_is_not_lost() -> None:
    rng = np.random.default_rng(2)
    control, training = rng.normal(size=(2, 1500)), rng.normal(size=(2, 1500))
    training[1, :200] += 1.5
    face, appearance = (global_test(t, c) for t, c in zip(training, control, strict=True))
    found = global_test_by_any({"face": (training[0], control[0]), "appearance": (training[1], control[1])})
    assert (found.score, found.n_scores) == ("appearance", 2) and face.p_value > 0.01
    assert found.p_value == 2 * appearance.p_value < 0.01
    assert found.smallest_p == 2 * appearance.smallest_p
    assert global_test_by_any({"only": (training[0], control[0])}).p_value == face.p_value


def test_control_people_win_ties() -> None:
    assert global_test(np.ones(50), np.ones(50)).p_value == 1
    assert global_test(np.zeros(0), np.ones(5)).p_value == 1


def test_sixty_leaks_are_beyond_doubt_and_three_are_not() -> None:
    rng = np.random.default_rng(0)
    control, training = rng.normal(size=1500), rng.normal(size=1900)
    training[:3] = 10
    assert global_test(training, control).p_value > 0.01
    training[:60] = 10
    assert global_test(training, control).p_value < 1e-6


def test_competition_by_hand() -> None:
    score = np.array([9.0, 8, 7, 6, 5])
    won = np.array([True, True, False, True, True])
    found = compete(score, won, np.arange(5), 1.0, 0.5)
    # (1 + losses) / wins from the top: 1/1, 1/2, -, 2/3, 2/4; made monotone from below.
    assert found.q.tolist() == [0.5, 0.5, 1, 0.5, 0.5]
    assert found.significant(0.5).tolist() == [True, True, False, True, True]
    assert compete(score, won, np.arange(5), 2.0, 0.05).min_significant == 40


def test_a_person_who_wins_many_identities_counts_once() -> None:
    """One training person is closest to three identities: (1 + losses) / people is 1, 1, 1, then 1/2 with another."""
    found = compete(np.array([9.0, 8, 7, 6]), np.ones(4, bool), np.array([4, 4, 4, 2]), 1.0, 0.5)
    assert found.q.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert found.first.tolist() == [True, False, False, True]
    alone = compete(np.array([9.0, 8, 7]), np.ones(3, bool), np.array([4, 4, 4]), 1.0, 0.5)
    assert alone.q.tolist() == [1, 1, 1]
    # A training and a control person may have one code.
    both = compete(np.array([9.0, 8]), np.array([True, False]), np.array([0, 0]), 1.0, 0.5)
    assert both.q.tolist() == [1, 1] and both.first.tolist() == [True, False]


@given(scores, st.floats(0.2, 5), st.integers(0, 2**32))
def test_competition_counts(score: np.ndarray, ratio: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    won, person = rng.random(len(score)) < 0.5, rng.integers(4, size=len(score))
    fast = compete(score, won, person, ratio, 0.05)

    def people(side: np.ndarray, t: float) -> int:
        return len({int(p) for p in person[side & (score >= t)]})

    def estimate(t: float) -> float:
        return ratio * (1 + people(~won, t)) / max(1, people(won, t))

    for i in range(len(score)):
        slow = 1.0 if not won[i] else min(1.0, *(estimate(t) for t in score if t <= score[i]), 1.0)
        # Within a tie control people come first, so the fast running minimum sees no smaller prefix than the slow one.
        assert fast.q[i] == pytest.approx(slow)
        best = max(
            (j for j in range(len(score)) if won[j] and person[j] == person[i]), key=lambda j: score[j], default=-1
        )
        assert not fast.first[i] or (won[i] and score[i] == score[best])
    assert fast.first.sum() == len({int(p) for p in person[won]})


@pytest.mark.parametrize("ratio", [1.0, 3.0, 0.5])
def test_competition_holds_its_rate_with_unequal_odds(ratio: float) -> None:
    """Half the identities leak; the mean false discovery proportion stays at or below q."""
    rng = np.random.default_rng(11)
    proportions = []
    for _ in range(400):
        leaks = rng.random(200) < 0.5
        score = rng.normal(size=200) + 3 * leaks
        won = leaks | (rng.random(200) < ratio / (1 + ratio))
        significant = compete(score, won, np.arange(200), ratio, 0.1).significant(0.1)
        proportions.append((significant & ~leaks).sum() / max(1, significant.sum()))
    assert np.mean(proportions) <= 0.1 + 2 * np.std(proportions) / np.sqrt(len(proportions))


def test_survival_equals_scipy() -> None:
    x = np.linspace(0, 3, 50)
    for shape, scale in ((0.0, 0.7), (0.3, 0.5), (0.75, 1.2)):
        ours = survival_of(x, np.array(shape), np.array(scale))
        assert np.allclose(ours, stats.genpareto.sf(x, shape, scale=scale), rtol=1e-12)


def test_tail_finds_the_likelihood_of_scipy() -> None:
    excess = stats.genpareto.rvs(0.25, scale=0.1, size=4000, random_state=np.random.default_rng(2))
    tail = fit_tail(excess)
    assert tail is not None
    largest = np.sort(excess)[-tail.n_exceedances :] - tail.threshold
    shape, _, scale = stats.genpareto.fit(largest, floc=0)
    assert tail.shape == pytest.approx(shape, abs=0.02)
    assert tail.scale == pytest.approx(scale, rel=0.03)
    assert tail.fit_p > 0.01


def test_tail_p_values_are_monotone_capped_and_continue_the_count() -> None:
    controls = np.random.default_rng(0).normal(size=1000)
    tail = fit_tail(controls)
    assert tail is not None
    x = np.linspace(-4, 40, 500)
    p = tail.p_values(x)
    assert (np.diff(p) <= 1e-15).all()
    assert np.array_equal(p[x <= tail.threshold], conformal_p(x[x <= tail.threshold], controls))
    assert p.min() == pytest.approx(1 / (CAP * 1001))


def test_tail_p_values_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tail = fit_tail(np.random.default_rng(0).normal(size=1000))
    assert tail is not None
    x = np.linspace(-4, 40, 50)
    whole = tail.p_values(x)
    monkeypatch.setattr("unveil.stats.tail.BLOCK_VALUES", 3 * len(tail.accepted))
    assert np.array_equal(tail.p_values(x), whole)


def test_no_tail_from_few_or_equal_controls() -> None:
    assert fit_tail(np.arange(59.0)) is None
    assert fit_tail(np.ones(500)) is None


@pytest.mark.parametrize("shape", ["normal", "exponential", "heavy"])
def test_gpd_tail_keeps_its_rate_where_nothing_leaks(shape: str) -> None:
    """Without a leak, at most 5% of runs have a finding by the GPD tail at q .05, within Monte Carlo error."""
    rng = np.random.default_rng(5)
    resamples: dict[str, Callable[[int], Floats]] = {
        "normal": lambda n: rng.normal(size=n),
        "exponential": lambda n: rng.exponential(size=n),
        "heavy": lambda n: stats.genpareto.rvs(0.2, size=n, random_state=rng),
    }
    draw = resamples[shape]
    runs, false = 150, 0
    for _ in range(runs):
        tail = fit_tail(draw(300))
        assert tail is not None
        false += bool((benjamini_hochberg(tail.p_values(draw(300))) <= 0.05).any())
    assert false <= stats.binom.ppf(0.999, runs, 0.05)


@given(st.integers(0, 2**32))
@examples(25)
def test_conformal_q_keep_their_rate(seed: int) -> None:
    """A bound that holds in every run: nobody is significant when nobody exceeds all controls."""
    rng = np.random.default_rng(seed)
    control = rng.normal(size=100)
    training = np.minimum(rng.normal(size=100), control.max())
    assert (conformal_q(conformal_p(training, control), 100) > 0.05).all()
