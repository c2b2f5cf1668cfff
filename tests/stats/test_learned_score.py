"""The learned score: its false discovery rate, what it finds, and that nothing but the rule decides."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from unveil.stats.learned_score import PENALTY, _e_bh, _Fit, _on_one_scale, learned_list
from unveil.stats.set_fit import RIDGE, fit_sets
from unveil.types import Floats, Mask

K = 3


def people(rng: np.random.Generator, n: int, leaks: int = 0, effect: float = 0.0) -> Floats:
    """Scores (n, K) of people: maxima of noise, and higher by ``effect`` in two scores for the first ``leaks``."""
    scores = rng.gumbel(size=(n, K)) + 0.5 * rng.gumbel(size=(n, 1))
    scores[:leaks, :2] += effect
    return scores


def test_the_fit_is_the_optimum_of_the_penalised_loss() -> None:
    rng = np.random.default_rng(0)
    features = _on_one_scale(np.concatenate([people(rng, 40, 20, 2.0), people(rng, 60)]))
    is_training = np.arange(100) < 40
    fit = _Fit(features, is_training)

    def loss(b: Floats, labels: Mask) -> float:
        weight = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
        losses = np.logaddexp(0, np.where(labels, -1, 1) * (features @ b))
        return float(weight @ losses + PENALTY / 2 * b[:-1] @ b[:-1])

    moved = is_training.copy()
    moved[3] = False
    for labels, found in ((is_training, fit.everybody), (moved, fit.without(3))):
        best = optimize.minimize(loss, np.zeros(K + 1), args=(labels,), tol=1e-12).x
        np.testing.assert_allclose(found, best, atol=1e-4)


def test_a_training_person_is_tested_as_if_they_were_a_control_person() -> None:
    """The fit for the test of a person is the same if that person and a control person change places."""
    rng = np.random.default_rng(1)
    scores = people(rng, 50, 10, 3.0)
    swapped = scores.copy()
    swapped[[5, 40]] = swapped[[40, 5]]
    is_training = np.arange(50) < 20
    before, after = (_Fit(_on_one_scale(s), is_training).without(5) for s in (scores, swapped))
    np.testing.assert_allclose(before, after, atol=1e-8)


def test_e_bh_by_hand() -> None:
    assert _e_bh(np.array([100.0, 20, 19, 0]), 0.1).tolist() == [True, True, True, False]  # 4 / (.1 * 3) = 13.3
    assert not _e_bh(np.array([39.0, 19, 0, 0]), 0.1).any()  # 40, then 20
    assert not _e_bh(np.zeros(0), 0.1).any()


@pytest.mark.parametrize(("leaks", "n_control"), [(0, 150), (20, 150), (60, 80)])
def test_the_false_discovery_rate_is_kept(leaks: int, n_control: int) -> None:
    false = []
    for run in range(60):
        rng = np.random.default_rng([run, leaks])
        found = learned_list(people(rng, 120, leaks, 5.0), people(rng, n_control), 0.1).significant
        false.append(found[leaks:].sum() / max(1, found.sum()))
    # Three standard errors of the mean of 60 runs.
    assert np.mean(false) <= 0.1 + 3 * np.std(false) / np.sqrt(60)


def test_leaks_are_found_by_the_scores_that_show_them() -> None:
    rng = np.random.default_rng(2)
    found = learned_list(people(rng, 200, 60, 6.0), people(rng, 400), 0.05)
    assert found.significant[:60].mean() > 0.9
    assert found.weights[:2].min() > 3 * abs(found.weights[2])
    assert not learned_list(people(rng, 200), people(rng, 400), 0.05).significant.any()


def test_the_set_fit_by_hand() -> None:
    """The ratio of both Mahalanobis distances, by an explicit inverse."""
    rng = np.random.default_rng(3)
    synthetic, real = (rng.normal(size=(n, 4)) * scale for n, scale in ((80, [3, 1, 1, 1]), (60, [1, 1, 1, 1])))
    images = rng.normal(size=(5, 4))
    expected = np.zeros(5)
    for sign, vectors in ((1, real), (-1, synthetic)):
        covariance = np.cov(vectors.T)
        covariance += RIDGE * np.trace(covariance) / 4 * np.eye(4)
        apart = images - vectors.mean(0)
        expected += sign * np.log(np.einsum("ij,jk,ik->i", apart, np.linalg.inv(covariance), apart))
    found = fit_sets(synthetic.astype(np.float32), real.astype(np.float32)).of(images.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert not fit_sets(synthetic[:20].astype(np.float32), real.astype(np.float32)).of(images.astype(np.float32)).any()
