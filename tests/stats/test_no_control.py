"""The statement without a control set: p, q and the crowd test against slow references, and their error rates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.search_error_rates import Shape, simulate
from unveil.stats.no_control import (
    CLUMP,
    below_median,
    crowd_test,
    expected_people,
    far_beyond,
    fit_shift,
    identity_p,
    people_q,
    search_p,
    search_tests,
)
from unveil.stats.tail import fit_tail

probabilities = st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.2, 0.5, 1.0]), min_size=1, max_size=25)


def surplus(k: int) -> int:
    """The largest s with s (s - 1) / 2 <= k - 1."""
    return max(s for s in range(k + 2) if s * (s - 1) // 2 <= k - 1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(-1, 31))
def test_search_p_by_counting(searches: list[int], score: int) -> None:
    k = 1 + sum(s >= score for s in searches)
    expected = min(1.0, (k + surplus(k)) / (len(searches) + 1))
    found = search_p(np.array([float(score)]), np.array(searches, np.float64))
    assert found.tolist() == pytest.approx([expected])


def rank_without(score: Sequence[int], closest: Sequence[int], person: int) -> int:
    """1 + the others who reach a person's score when that person cannot be found; the rest keep their score."""
    return 1 + sum(score[i] >= score[person] for i in range(len(score)) if i != person and closest[i] != person)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_no_arrangement_of_closest_people_beats_the_surplus(n: int) -> None:
    """Whoever is whose closest match, at most k + s people have k or fewer others above them in their absence."""
    score = list(range(n))
    others = [[j for j in range(n) if j != i] for i in range(n)]
    worst = dict.fromkeys(range(1, n), 0)
    for closest in itertools.product(*others):
        ranks = [rank_without(score, closest, person) for person in range(n)]
        for k in worst:
            worst[k] = max(worst[k], sum(rank <= k for rank in ranks))
    assert all(worst[k] <= min(n, k + surplus(k)) for k in worst)
    assert worst[1] == 2, "the two people who are each other's closest match: counting alone is not exact"


def test_search_p_is_exact_for_people_who_are_each_others_closest_match() -> None:
    """Points on a line: plain counting is wrong at its smallest p twice as often as it says."""
    rng, n, runs = np.random.default_rng(0), 19, 4000
    naive, ours = 0, 0
    for _ in range(runs):
        points = rng.normal(size=n + 1)
        apart = np.abs(points[:, None] - points) + 1e9 * np.eye(n + 1)
        searches, score = -apart[:n, :n].min(1), -apart[n, :n].min(keepdims=True)
        naive += bool((searches < score).all())
        ours += bool(search_p(score, searches)[0] <= 2 / (n + 1))
    assert naive / runs > 1.6 / (n + 1)
    assert ours / runs <= 2 / (n + 1) + 3 * np.sqrt(0.1 / runs)


@given(probabilities)
def test_identities_and_people_by_simes(values: list[float]) -> None:
    p = np.array(values)
    rng = np.random.default_rng(len(values))
    code, person = rng.integers(0, 4, len(p)), rng.integers(0, 6, len(p))
    code = np.unique(code, return_inverse=True)[1]
    for i, found in enumerate(identity_p(p, code)):
        own = np.sort(p[code == i])
        assert found == pytest.approx(min(1.0, min(len(own) * v / (k + 1) for k, v in enumerate(own))))
    expected = expected_people(p, person, 6)
    for i in range(6):
        own = np.sort(p[person == i])
        assert expected[i] == pytest.approx(min((len(p) * v / (k + 1) for k, v in enumerate(own)), default=np.inf))
    q = people_q(expected)
    for i in range(6):
        ratios = [e / (expected <= e).sum() for e in expected if e >= expected[i]]
        assert q[i] == pytest.approx(min(1.0, *ratios))


def test_one_image_for_each_person_gives_the_q_of_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(1).random(50) ** 3
    assert people_q(expected_people(p, np.arange(50), 50)) == pytest.approx(stats.false_discovery_control(p))


def test_many_images_of_one_person_are_one_finding() -> None:
    """A thousand images of one training person and of nobody else: found, although counting resolves only 2 / 201."""
    tests = search_tests(np.full(1000, 9.0), np.zeros(1000, np.int64), np.arange(1000), np.linspace(0, 1, 200), 200)
    assert tests.conformal(0.05).tolist() == [True] + [False] * 199
    assert tests.crowd.p_value == 1.0, "one person is no crowd"


def test_crowd_test_by_hand() -> None:
    """80 searches count as 40: above the second of them lie 40 of 100 people, where 2.5 are expected."""
    p = np.concatenate([np.full(40, 2 / 81), np.full(60, 0.9)])
    found = crowd_test(p, np.arange(100), 80)
    assert (found.people, found.share) == (40, CLUMP / 80) and found.expected == pytest.approx(2.5)
    cutoffs = 4
    assert found.p_value == pytest.approx(cutoffs * stats.betabinom.sf(39, 100, 1, 40))
    assert crowd_test(p, np.zeros(100, np.int64), 80).p_value > 0.5, "all are closest to one person"
    assert crowd_test(p[:0], np.zeros(0, np.int64), 80).p_value == 1.0


def test_a_tail_of_pairs_is_wider_than_one_of_single_searches() -> None:
    searches = np.random.default_rng(2).exponential(size=400)
    single, paired = fit_tail(searches), fit_tail(searches, 2)
    assert single is not None and paired is not None and paired.smallest_p == 2 * single.smallest_p
    beyond = searches.max() + np.array([0.5, 1.0, 2.0])
    assert (paired.p_values(beyond) >= single.p_values(beyond)).all()
    assert (single.p_values(beyond) > np.exp(-beyond)).all(), "an upper limit of the true p"


def test_shift_is_measured_and_corrected_in_one_direction_only() -> None:
    rng = np.random.default_rng(3)
    real = rng.normal(size=2000)
    closer = fit_shift(rng.normal(size=1000) + 0.5, real, 1000)
    assert closer.location.low <= 0.5 <= closer.location.high and closer.correction > 0.5
    assert closer.of(np.array([3.0]))[0] <= 3.0 - 0.5
    less = fit_shift(rng.normal(size=1000) - 0.5, real, 1000)
    assert less.location.high < 0 and less.correction == 0
    wide = fit_shift(2 * rng.normal(size=1000), real, 1000)
    assert wide.spread_ratio == pytest.approx(2, rel=0.15) and wide.factor == wide.spread_ratio
    assert wide.of(np.array([4.0]))[0] < 2.5
    few = fit_shift(rng.normal(size=1000), real, 10)
    assert few.correction > 0.3, "a thousand images of ten identities say little about the median"


def test_share_below_the_median_counts_identities() -> None:
    scores, identity = np.array([0.0, 0.0, 9.0, 9.0, 9.0, 0.0]), np.array([0, 0, 0, 1, 1, 1])
    found = below_median(scores, identity, np.array([1.0, 2.0, 3.0]))
    assert (found.value, found.n) == (0.5, 2)


SMALL = [
    Shape("a person an image", 150, identities=100),
    Shape("hubs", 150, identities=100, hubs=2.0),
    Shape("identities of five images", 150, identities=30, each=5, images=3),
    Shape("closer to everybody", 150, identities=100, pull=1.0),
    Shape("five faces, repeated", 150, identities=100, same=True),
]
RUNS = 60


@pytest.mark.parametrize("shape", SMALL, ids=lambda s: s.name)
def test_nothing_is_indicated_where_nothing_leaks(shape: Shape) -> None:
    outcomes = [simulate(shape, False, seed) for seed in range(RUNS)]
    allowed = stats.binom.ppf(0.999, RUNS, 0.05)
    assert sum(o.indicated for o in outcomes) <= allowed
    assert sum(o.identities[1] > 0 for o in outcomes) <= allowed


@pytest.mark.parametrize("shape", [SMALL[0], SMALL[2]], ids=lambda s: s.name)
def test_leaks_are_found_at_the_promised_rate(shape: Shape) -> None:
    outcomes = [simulate(shape, True, seed) for seed in range(RUNS // 2)]
    for name in ("conformal", "gpd", "identities"):
        shares = np.array([getattr(o, name)[0] / max(1, getattr(o, name)[1]) for o in outcomes])
        assert shares.mean() <= 0.05 + 3 * shares.std() / np.sqrt(len(shares)), name
    assert np.mean([o.indicated for o in outcomes]) > 0.9


def test_a_pair_far_beyond_all_searches_has_no_least_p() -> None:
    """Only where it lies further above the highest search than that above the median, and an exponential tail fits."""
    searches = np.sort(np.random.default_rng(2).normal(0.3, 0.04, 300))
    bar = 2 * searches[-1] - float(np.median(searches))
    cosine = np.array([0.3, searches[-1], bar - 0.01, bar + 0.01, 0.99])
    assert far_beyond(cosine, searches).tolist() == [False, False, False, True, True]
    tail = fit_tail(searches, CLUMP)
    assert tail is not None and tail.p_values(cosine)[-1] >= tail.smallest_p > 6e-5
    scale = max(float(scale) for shape, scale in tail.accepted if shape == 0)
    share = (tail.n_exceedances + CLUMP) / 301
    expected = [share * math.exp(-(c - tail.threshold) / scale) for c in cosine[-2:]]
    assert tail.exponential_p(cosine[-2:]).tolist() == pytest.approx(expected) and expected[-1] < 1e-6
    heavy = fit_tail(np.random.default_rng(3).pareto(1.5, 1000))
    assert heavy is not None and heavy.exponential_p(np.array([1e6])).tolist() == [1.0]
