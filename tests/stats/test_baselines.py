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
from unveil.stats.baselines.likelihood_gap import fitted_log_variance, likelihood_gap
from unveil.stats.baselines.memorisation import MemorisedImages, memorisation
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


def test_dcr_diff_is_calibrated_gan_leaks() -> None:
    """Synth-MIA's score: minus (nearest synthetic record minus nearest reference record)."""
    rng = np.random.default_rng(2)
    x, synthetic, reference = rng.normal(size=(9, 3)), rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    to_synthetic, to_reference = (
        np.array([min(np.linalg.norm(a - b) for b in other) for a in x]) for other in (synthetic, reference)
    )
    dcr_diff = -(to_synthetic - to_reference)
    assert calibrated_distance(to_synthetic, to_reference) == pytest.approx(dcr_diff)


def fit_by_numbers(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The authors' fit with slopes from differences of the loss, one component at a time."""
    n, d = made.shape
    squared = np.array([[float(((x - y) ** 2).sum()) for y in made] for x in real])
    middle = [0.81 * float(((x - real.mean(axis=0)) ** 2).sum()) for x in real]

    def loss(theta: np.ndarray) -> float:
        total = 0.0
        for i in range(len(real)):
            density = np.exp(-middle[i] / np.exp(theta[n]) / 2) / (2 * np.pi * np.exp(theta[n])) ** (d / 2)
            for j in range(n):
                variance = np.exp(theta[j])
                density += np.exp(-squared[i, j] / variance / 2) / (2 * np.pi * variance) ** (d / 2) / n
            total -= np.log(density)
        return float(total / len(real) / d)

    theta = np.append(np.log((squared.min(axis=0) + 1e-3) / d), 0.0)
    m, v = np.zeros(n + 1), np.zeros(n + 1)
    for step in range(1, 51):
        slope = np.array([(loss(theta + e) - loss(theta - e)) / 2e-5 for e in 1e-5 * np.eye(n + 1)])
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        theta = theta - 0.5 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        theta[:n] = np.clip(theta[:n], -40, 20)
    return theta[:n]


def test_the_likelihood_gap_is_fitted_as_its_authors_do() -> None:
    rng = np.random.default_rng(3)
    real, made = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
    squared = ((real[:, None] - made) ** 2).sum(axis=2)
    to_middle = ((real - real.mean(axis=0)) ** 2).sum(axis=1)[:, None]
    assert fitted_log_variance(squared, to_middle, 2) == pytest.approx(fit_by_numbers(real, made), abs=1e-3)


def test_the_likelihood_gap_falls_with_copies() -> None:
    rng = np.random.default_rng(4)
    training, held_out, fresh = (rng.normal(size=(150, 8)).astype(np.float32) for _ in range(3))
    nothing = likelihood_gap(fresh, training, held_out)
    some = fresh.copy()
    some[:30] = training[:30] + 0.01 * rng.normal(size=(30, 8))
    copied = likelihood_gap(some, training, held_out)
    assert copied.value < nothing.value - 20 and copied.high < nothing.low
    assert nothing.n == 300 and likelihood_gap(training, training, held_out).value == -1000
    constant = np.hstack([training, np.ones((150, 1), np.float32)])
    assert np.isfinite(likelihood_gap(constant, constant, constant).value)


def test_memorised_images_by_hand() -> None:
    """Distances 1, 3, 8: mean 4, score 1/4. Equal distances: 1. A copy of one, and of three training images: 0."""
    nearest = np.array([[1.0, 3, 8], [2, 2, 2], [0, 1, 1], [0, 0, 0]])
    assert memorisation(nearest).tolist() == [0.25, 1, 0, 0]
    assert MemorisedImages.name == "memorised"
