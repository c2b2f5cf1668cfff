"""Baselines, each against its authors' definition worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unveil.stats.baselines.authenticity import authenticity
from unveil.stats.baselines.closer_to_training import closer_to_training
from unveil.stats.baselines.data_copying import data_copying
from unveil.stats.baselines.domias import density_ratio
from unveil.stats.baselines.gan_leaks import calibrated_distance
from unveil.stats.baselines.neighbour_ratio import neighbour_ratio


def test_authenticity_by_hand() -> None:
    """Training images at 0, 4 and 5 on an axis, synthetic ones at 1, 4.6, 9 and 0.

    1: its nearest is 0, whose nearest other is 4 away; 1 < 4, not authentic. 4.6: nearest 5, 0.4 < 1, not. 9: nearest 5
    at 4 > 1, authentic. 0: distance 0 < 4, not.
    """
    training, synthetic = np.array([0.0, 4, 5]), np.array([1.0, 4.6, 9, 0])
    apart = abs(synthetic[:, None] - training)
    among = abs(training[:, None] - training) + np.diag([np.inf] * 3)
    found = authenticity(apart.min(1), apart.argmin(1), among.min(1))
    assert found.value == 0.25 and found.n == 4


def test_data_copying_by_hand() -> None:
    """One cell of 20 generated and 10 held-out images: U counts the pairs in which the generated one is farther."""
    generated, held_out = np.arange(20) / 10 + 0.05, np.arange(10) / 5 + 0.01
    u = sum(g > h for g in generated for h in held_out)
    expected = (u - 100) / np.sqrt(20 * 10 * 31 / 12)
    cells = np.zeros(20, np.int64), np.zeros(10, np.int64)
    assert data_copying(generated, held_out, *cells).value == pytest.approx(expected)
    # Two cells weigh as their held-out images; one with fewer than 20 generated ones does not count.
    more = np.concatenate([generated, generated - 5, [1.0] * 5])
    others = np.concatenate([held_out, held_out[:5], [1.0] * 3])
    copied = (0 - 50) / np.sqrt(20 * 5 * 26 / 12)
    found = data_copying(
        *(more, others, np.repeat([0, 1, 2], [20, 20, 5]), np.repeat([0, 1, 2], [10, 5, 3])),
    )
    assert found.value == pytest.approx((10 * expected + 5 * copied) / 15)
    assert data_copying(generated[:5], held_out, cells[0][:5], cells[1]).value == 0


def test_data_copying_is_a_standard_normal_where_nothing_is_copied() -> None:
    rng = np.random.default_rng(0)
    one = np.zeros(60, np.int64)
    values = [data_copying(rng.random(60), rng.random(60), one, one).value for _ in range(500)]
    assert stats.kstest(values, "norm").pvalue > 0.01


def test_shares_ratios_and_differences_by_hand() -> None:
    share = closer_to_training(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 5]))
    assert share.value == 2.5 / 4 and share.n == 4, "two closer and one tie"
    assert neighbour_ratio(np.array([1.0] * 19 + [0.1]), np.array([2.0] * 20)).value == pytest.approx(
        np.quantile([0.5] * 19 + [0.05], 0.05)
    )
    assert neighbour_ratio(np.zeros(2), np.zeros(2)).value == 1
    assert calibrated_distance(np.array([0.2, 0.9]), np.array([0.8, 0.8])) == pytest.approx([0.6, -0.1])


def test_density_ratio_is_that_of_kernel_densities() -> None:
    """Against SciPy's kernel density with the same width, in two dimensions."""
    rng = np.random.default_rng(1)
    generated, reference, x = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) + 1, rng.normal(size=(5, 2))
    width = 0.7

    def log_density(points: np.ndarray) -> np.ndarray:
        each = [stats.multivariate_normal(p, width**2 * np.eye(2)).pdf(x) for p in points]
        return np.asarray(np.log(np.mean(each, axis=0)))

    to_generated, to_reference = (np.linalg.norm(x[:, None] - points, axis=2) for points in (generated, reference))
    assert density_ratio(to_generated, to_reference, width, 2) == pytest.approx(
        log_density(generated) - log_density(reference)
    )
