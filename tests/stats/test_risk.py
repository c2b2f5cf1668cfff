"""Risks, estimates of how many, errors of lists, strata: by hand and by simulation where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.exposed_share import simulate
from unveil.stats.conformal import conformal_p
from unveil.stats.enrichment import min_exposed
from unveil.stats.exposed_share import LAMBDA, exposed_share
from unveil.stats.intervals import share
from unveil.stats.list_errors import expected_false
from unveil.stats.membership import not_resolved, resolves
from unveil.stats.risk import excess_risk, wilson
from unveil.stats.statements import Evidence
from unveil.stats.strata import concentration_p


def test_wilson_by_hand() -> None:
    # Wilson 1927: centre (k + z^2 / 2) / (n + z^2), half width z / (n + z^2) * sqrt(k (n - k) / n + z^2 / 4).
    z = stats.norm.ppf(0.975)
    centre, half = (3 + z**2 / 2) / (40 + z**2), z / (40 + z**2) * np.sqrt(3 * 37 / 40 + z**2 / 4)
    assert wilson(3 / 40, 40) == pytest.approx((centre, half))


def test_risk_is_what_the_generator_adds() -> None:
    risk = excess_risk(share(60, 100, "t"), share(20, 100, "c"))
    assert risk.value == pytest.approx((0.6 - 0.2) / (1 - 0.2))
    assert 0 < risk.low < risk.value < risk.high < 1
    assert excess_risk(share(1, 100, "t"), share(50, 100, "c")).value == 0
    certain = excess_risk(share(10, 10, "t"), share(10, 10, "c"))
    assert (certain.value, certain.low, certain.high) == (0, 0, 1)


@pytest.mark.parametrize(("attack", "control"), [(0.05, 0.01), (0.3, 0.1), (0.9, 0.5)])
def test_interval_of_a_risk_covers_it(attack: float, control: float) -> None:
    rng, truth, runs = np.random.default_rng(3), (attack - control) / (1 - control), 1000
    covered = 0
    for t, c in zip(rng.binomial(200, attack, runs), rng.binomial(200, control, runs), strict=True):
        found = excess_risk(share(int(t), 200, "t"), share(int(c), 200, "c"))
        covered += found.low <= truth <= found.high
    assert covered / runs >= 0.93


def test_exposed_share_by_hand() -> None:
    control, training = np.arange(99.0), np.concatenate([np.full(60, 200.0), np.arange(20.0), 60 + np.arange(20.0)])
    # 20 of 100 have p above 1/2, where half of those who are not exposed lie: pi0 is 0.4.
    assert (conformal_p(training, control) > LAMBDA).sum() == 20
    found = exposed_share(training, control, 0, np.random.default_rng(0))
    assert found.value == pytest.approx(0.6) and found.low < 0.6 < found.high
    assert exposed_share(training, control, 90, np.random.default_rng(0)).low == 0.9
    nobody = exposed_share(np.zeros(0), control, 0, np.random.default_rng(0))
    assert (nobody.low, nobody.high) == (0, 1)


def test_exposed_share_is_never_below_the_exact_limit() -> None:
    rng = np.random.default_rng(1)
    training, control = rng.normal(size=100), rng.normal(size=100)
    training[:30] += 8
    least = min_exposed(training, control, 0.05)
    found = exposed_share(training, control, least, rng)
    assert least > 0 and least / 100 <= found.low <= found.value <= found.high


@pytest.mark.parametrize("size", [(7, 5), (40, 60)])
def test_resamples_are_those_of_a_bootstrap_over_people(size: tuple[int, int]) -> None:
    """The short cut by order statistics has the distribution of resampling both sides person by person."""
    rng = np.random.default_rng(2)
    training, control = rng.normal(size=size[0]) + 1, rng.normal(size=size[1])
    found = exposed_share(training, control, 0, rng)
    slow = []
    for _ in range(4000):
        t, c = (side[rng.integers(len(side), size=len(side))] for side in (training, control))
        by_chance = (size[1] + 1 - (size[1] + 1) // 2) / (size[1] + 1)
        slow.append(1 - float((conformal_p(t, c) > LAMBDA).mean()) / by_chance)
    low, high = np.clip(np.quantile(slow, [0.025, 0.975]), 0, 1)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.11 if size[0] < 10 else 0.03)


@pytest.mark.parametrize(("leaked", "strength"), [(0.0, 6.0), (0.01, 6.0), (0.1, 6.0), (0.5, 6.0), (0.5, 1.0)])
def test_exposed_share_covers(leaked: float, strength: float) -> None:
    """In short; `benchmarks/exposed_share.py` is the full simulation. Weak leaks are covered beyond chance alone."""
    runs = [simulate(200, 200, leaked, strength, np.random.default_rng([seed, 4])) for seed in range(300)]
    allowed = stats.binom.ppf(0.001, 300, 0.94) / 300
    assert np.mean([r.low <= r.beyond_chance <= r.high for r in runs]) >= allowed
    assert np.mean([r.low <= r.leaked for r in runs]) >= allowed


def test_facts_are_never_false() -> None:
    evidence: list[tuple[Evidence, ...]] = [("conformal",), ("exact copy",), ("exact copy", "GPD tail"), ()]
    assert expected_false(0.05, evidence) == pytest.approx(0.1)
    copies: list[tuple[Evidence, ...]] = [("exact copy", "conformal", "GPD tail")] * 200
    assert expected_false(0.05, copies) == 0
    # The threshold of the test counts the copies, so all others can be false.
    assert expected_false(0.05, copies + evidence[:1]) == 1


def test_rates_that_control_people_cannot_show() -> None:
    assert [resolves(0.001, n) for n in (999, 1000)] == [False, True]
    assert [resolves(0.01, n) for n in (99, 100)] == [False, True]
    assert set(not_resolved(194)) == {"0.001"} and set(not_resolved(60)) == {"0.01", "0.001"}
    assert not_resolved(194)["0.001"].endswith("0.1%; at least 1,000 are needed")
    assert not_resolved(1000) == {}


def test_concentration_by_hand() -> None:
    # Two of two findings among the 3 of 6 people of a stratum: 3/6 * 2/5, times two strata.
    assert concentration_p([2, 0], [3, 3]) == pytest.approx([0.4, 1])
    assert concentration_p([0, 0], [3, 3]) == [1, 1]


def test_concentration_keeps_its_level() -> None:
    rng, false = np.random.default_rng(5), 0
    for _ in range(500):
        strata = rng.permutation(np.repeat([0, 1, 2], [60, 30, 10]))[:20]
        false += min(concentration_p(np.bincount(strata, minlength=3).tolist(), [60, 30, 10])) <= 0.05
    assert false / 500 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
