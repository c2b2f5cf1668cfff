"""The expected number of false matches, on vectors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from unveil.stats import false_match_tail as module
from unveil.stats.false_match_tail import (
    MAX_TAIL,
    MIN_TAIL,
    SHARE,
    FalseMatchTail,
    closest_people,
    false_match_tail,
    list_q,
)
from unveil.types import Floats, Ints, Vectors


def people(rng: np.random.Generator, n: int, images: int, spread: float = 0.5) -> tuple[Vectors, Ints]:
    """Unit rows (n * images, 24) of n people, and their codes."""
    codes = np.repeat(np.arange(n), images)
    x = np.repeat(rng.normal(size=(n, 24)), images, axis=0) + spread * rng.normal(size=(n * images, 24))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32), codes


def cross(a: tuple[Vectors, Ints], b: tuple[Vectors, Ints]) -> Floats:
    """The cosine of the closest images of each pair of a person of A and one of B."""
    cosine = (a[0].astype(float) @ b[0].astype(float).T).reshape(len(a[0]), -1)
    n_a, n_b = a[1].max() + 1, b[1].max() + 1
    best: Floats = cosine.reshape(n_a, -1, n_b, len(b[1]) // n_b).max(axis=(1, 3))
    return best


def fitted(a: tuple[Vectors, Ints], b: tuple[Vectors, Ints], seed: int = 0) -> FalseMatchTail:
    rng = np.random.default_rng(seed)
    sets = [pairs for one in (a, b) if (pairs := closest_people(*one, rng)) is not None]
    tail = false_match_tail(sets, len(a[0]) * len(b[0]), rng)
    assert tail is not None
    return tail


def test_the_closest_people_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    vectors, codes = people(rng, 60, 3)
    order = rng.permutation(len(codes))
    found = closest_people(vectors[order], codes[order], rng)
    assert found is not None
    every = cross((vectors, codes), (vectors, codes))
    i, j = np.triu_indices(60, 1)
    descending = np.sort(every[i, j])[::-1]
    np.testing.assert_allclose(found.cosine, descending[: len(found.cosine)], atol=1e-5)
    assert len(found.cosine) == MIN_TAIL + 1
    np.testing.assert_allclose(found.cosine, every[found.first, found.second], atol=1e-5)
    assert found.n_image_pairs == 180 * 179 // 2 - 60 * 3


def test_a_sample_of_pairs_gives_the_same_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, codes = people(np.random.default_rng(2), 300, 2)
    whole = closest_people(vectors, codes, np.random.default_rng(0))
    monkeypatch.setattr(module, "FEW_PAIRS", 1000)
    part = closest_people(vectors, codes, np.random.default_rng(0))
    assert whole is not None and part is not None
    assert len(part.cosine) == int(SHARE * 300 * 299 / 2) + 1 < MAX_TAIL
    assert len(part.cosine) > MIN_TAIL
    np.testing.assert_array_equal(whole.cosine, part.cosine)


def test_the_expected_number_is_what_happens() -> None:
    """Between sets with 2 and with 4 images of a person, over ten draws."""
    expected, happened = np.zeros(3), np.zeros(3)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a, b = people(rng, 150, 2), people(rng, 120, 4)
        tail, best = fitted(a, b, seed), cross(a, b)
        at = np.array([tail.cosine_of(value) for value in (30.0, 5.0, 1.0)], float)
        expected += tail.expected(at)
        happened += (best[None] >= at[:, None, None]).sum((1, 2))
    np.testing.assert_allclose(expected, [300, 50, 10], rtol=1e-6)
    # Far out, a power of the distance falls off more slowly than such vectors do: the number is never too low.
    assert np.all(happened < expected + np.array([40, 15, 6])), happened
    assert np.all(happened > expected * [0.8, 0.6, 0.2]), happened


def test_people_under_two_names_do_not_hide_the_others() -> None:
    """Five people of A have two labels: counting says that they are false matches, the model of the tail does not."""
    rng = np.random.default_rng(5)
    a, b = people(rng, 200, 2), people(rng, 200, 2)
    clean = fitted(a, b)
    codes = a[1].copy()
    vectors = a[0].copy()
    for k in range(5):  # the images of persons 2k and 2k + 1 show the same person
        vectors[codes == 2 * k + 1] = vectors[codes == 2 * k] + 0.02 * unit_rows(rng, 2, 24)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noisy = fitted((vectors, codes), b)
    at = clean.cosine_of(0.5)
    assert at is not None
    counted = noisy.counted(at)
    assert counted > 4
    assert float(noisy.expected(np.array([at]))[0]) < counted / 2


def test_thresholds_and_numbers_belong_together() -> None:
    rng = np.random.default_rng(3)
    tail = fitted(people(rng, 100, 2), people(rng, 100, 2))
    grid = np.linspace(-1, 1, 200)
    assert np.all(np.diff(tail.expected(grid)) <= 0)
    for number in (1.0, 0.2):
        cosine = tail.cosine_of(number)
        assert cosine is not None
        assert float(tail.expected(np.array([cosine]))[0]) == pytest.approx(number)
    assert tail.cosine_of(tail.smallest / 2) is None
    assert tail.cosine_of(1e9) == tail.threshold
    estimate = tail.estimate(0.75, 2.0, "twice")
    assert estimate.low <= estimate.value == pytest.approx(2 * float(tail.expected(np.array([0.75]))[0]))


def test_too_few_people_measure_nothing() -> None:
    rng = np.random.default_rng(0)
    assert closest_people(*people(rng, 32, 2), rng) is None
    assert closest_people(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), rng) is None
    assert false_match_tail([], 100, rng) is None
    # All people are one: there is no tail to fit.
    same = closest_people(np.ones((100, 1), np.float32), np.arange(100), rng)
    assert same is not None and false_match_tail([same], 100, rng) is None


@given(st.lists(st.floats(0, 50), max_size=30))
@examples(100)
def test_q_values_are_those_of_the_definition(expected: list[float]) -> None:
    ascending = np.sort(expected)
    q = list_q(ascending)
    for k in range(len(q)):
        assert q[k] == min(1.0, *(ascending[j] / (j + 1) for j in range(k, len(q))))
