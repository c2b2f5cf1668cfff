"""Mated and non-mated pairs: against counting every pair by itself, and intervals that hold."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, unit_rows
from unveil.analysis.verification import choose_images
from unveil.columns import Labels, Texts
from unveil.stats import verification
from unveil.stats.verification import verification_performance
from unveil.types import Embedded


def people(rng: np.random.Generator, sizes: list[int], spread: float, d: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of people around a direction each, in random order."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    centres = unit_rows(rng, len(sizes), d)
    vectors = centres[codes] + spread * unit_rows(rng, len(codes), d)
    order = rng.permutation(len(codes))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[order].astype(np.float32), codes[order].astype(np.int64)


def by_hand(vectors: np.ndarray, codes: np.ndarray, fmr: float) -> tuple[float, float]:
    """Threshold and TPR by every pair in turn."""
    mated: list[float] = []
    others: list[float] = []
    for i, j in combinations(range(len(codes)), 2):
        (mated if codes[i] == codes[j] else others).append(float(vectors[i].astype(float) @ vectors[j].astype(float)))
    threshold = sorted(others, reverse=True)[int(fmr * len(others) + 1e-9)]
    return threshold, float(np.mean([m > threshold for m in mated]))


@examples(15)
@given(st.integers(0, 2**32), st.floats(0.3, 1.5))
def test_every_pair_counts(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 6, 60)]
    vectors, codes = people(rng, [*sizes, *[2] * 20], spread)
    found = verification_performance(vectors, codes, rng)
    assert found is not None
    n = len(codes)
    assert found.n_mated + found.n_non_mated == n * (n - 1) // 2
    for one in found.operating:
        threshold, tpr = by_hand(vectors, codes, one.fmr)
        assert one.cosine.value == pytest.approx(threshold, abs=1e-6)
        assert one.tpr.value == pytest.approx(tpr, abs=1.01 / found.n_mated)
    assert [one.fmr for one in found.operating] == [f for f in verification.FMRS if f * found.n_non_mated >= 10]


def test_ties_and_copies_are_no_matches_by_rounding() -> None:
    """Everybody looks the same: no threshold separates, and nothing lies above the one there is."""
    vectors = np.tile(unit_rows(np.random.default_rng(0), 1, 8), (240, 1))
    found = verification_performance(vectors, np.arange(240) // 2, np.random.default_rng(0))
    assert found is not None
    assert [round(one.tpr.value, 3) for one in found.operating] == [0.0]


@pytest.mark.parametrize("d", [3, 128, 512])
def test_pairs_in_small_blocks_are_the_pairs_at_once(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "SAMPLE", 5000)
    rng = np.random.default_rng(d)
    vectors, codes = people(rng, [3] * 60, 0.8, d)
    a, b = np.random.default_rng(1).integers(len(codes), size=(2, 5000))
    different = codes[a] != codes[b]
    at_once = np.einsum("ij,ij->i", vectors[a[different]], vectors[b[different]])
    found = verification.sampled_non_mated(vectors, codes, np.random.default_rng(1))
    assert found.dtype == np.float64 and np.array_equal(found, at_once.astype(np.float64))


@given(st.integers(0, 2**32))
def test_weights_are_cumulated_as_far_as_they_are_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 3 * verification.PAIRS_AT_ONCE))
    weights = rng.integers(0, 4, 50).astype(np.float64)
    first, second = rng.integers(50, size=(2, n))
    whole = np.cumsum(weights[first] * weights[second])
    highest = float(rng.uniform(0, 1.2) * (whole[-1] if n else 1))
    found = verification._cumulated_until(weights, first, second, highest)
    assert np.array_equal(found, whole[: len(found)])
    assert len(found) == n or found[-1] > highest


def test_too_few_people_with_two_images_are_no_measurement() -> None:
    rng = np.random.default_rng(0)
    vectors, codes = people(rng, [2] * 19 + [1] * 400, 0.5)
    assert verification_performance(vectors, codes, rng) is None


def test_intervals_hold_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The TPR over many worlds lies in the interval of one; people differ in how similar their images are."""
    # This sample is for the mean and deviation of non-mated pairs, which are not the point.
    monkeypatch.setattr(verification, "SAMPLE", 100_000)
    rng = np.random.default_rng(5)

    def world(n: int) -> tuple[np.ndarray, np.ndarray]:
        codes = np.repeat(np.arange(n), 4)
        own = rng.uniform(0.4, 1.6, n)[codes, None]
        vectors = unit_rows(rng, n, 16)[codes] + own * unit_rows(rng, len(codes), 16)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), codes

    truth = verification_performance(*world(2500), rng)
    assert truth is not None
    inside = []
    for _ in range(60):
        found = verification_performance(*world(150), rng)
        assert found is not None
        one = found.operating[0]
        inside.append(one.tpr.low <= truth.operating[0].tpr.value <= one.tpr.high)
    assert np.mean(inside) > 0.82


def test_nobody_weighs_more_than_ten_images() -> None:
    rng = np.random.default_rng(0)
    names = ["often"] * 300 + [f"p{i // 3}" for i in range(90)] + [None] * 50
    n = len(names)
    embedded = Embedded(
        Texts(list(map(str, range(n)))), Labels.of(names), Texts(list(map(str, range(n)))), unit_rows(rng, n, 4), "m"
    )
    rows = choose_images(embedded, rng)
    taken = [names[i] for i in rows]
    assert taken.count("often") == 10 and None not in taken and len(taken) == 100 and list(rows) == sorted(rows)
    few = [names[i] for i in choose_images(embedded, rng, max_images=40)]
    assert len(few) == 40 and len(set(few)) == 11
