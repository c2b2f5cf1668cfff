"""Arrangements of the compiled library are those of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from unveil.native import add_arranged, arrangements

pytestmark = pytest.mark.skipif(arrangements._function() is None, reason="the library is not compiled with it")


@pytest.mark.parametrize("places", [1, 2, 3, 8, 17, 20, 64])
def test_sums_and_later_numbers_are_those_of_numpy(places: int) -> None:
    mine, numpys = np.random.default_rng(places), np.random.default_rng(places)
    similarities = np.random.default_rng(1).normal(size=(places, places))
    sums, expected = np.ones(301), np.ones(301)
    for _ in range(2):
        assert add_arranged(sums, similarities, mine)
        rows = numpys.permuted(np.tile(np.arange(places), (301, 1)), axis=1)
        expected += sum(similarities[i].take(rows[:, i]) for i in range(places))
    assert (sums == expected).all()
    assert mine.random() == numpys.random()


def test_more_places_are_left_to_numpy() -> None:
    rng, same = np.random.default_rng(2), np.random.default_rng(2)
    sums = np.zeros(5)
    assert not add_arranged(sums, np.ones((65, 65)), rng)
    assert not sums.any() and rng.random() == same.random()


def test_a_library_without_the_function_leaves_them_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrangements, "_function", lambda: None)
    assert not add_arranged(np.zeros(5), np.ones((3, 3)), np.random.default_rng(3))
