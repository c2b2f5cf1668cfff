"""A score that is learned from several scores of people: what tells training people from control people.

Full-conformal novelty detection with e-values (Lee, Popov and Ren 2025, arXiv 2501.02703), with the classifier of
AdaDetect (Marandon et al. 2022, arXiv 2208.06685). Nothing is random and no control person is set aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from unveil.stats.score_scale import fit_score_scale
from unveil.types import Floats, Mask

# The penalty on squared coefficients, beside a mean loss in which both sides count the same. Chosen in the lab
# (docs/decisions/0033-learned-score.md).
PENALTY = 0.03
# Scores beyond these on the scale of scores say no more.
LOWEST, HIGHEST = -5.0, 15.0
# A step of the fit that changes no coefficient by more ends it; scores that differ by less are ties.
TOLERANCE, TIE = 1e-10, 1e-8
MAX_STEPS, FEW_STEPS = 100, 25
# Thresholds are set at this share of the false discovery rate: those of single people differ a little, and if they were
# set at the rate itself, one person less above them would leave nobody.
MARGIN = 0.9
# Training people up to this multiple of the false discovery rate, by one fit, are fitted on their own.
SLACK = 1.5


@dataclass(frozen=True)
class LearnedList:
    """Who of the training people (T,) is significant, and the weight of each score (K,) in standard deviations."""

    significant: Mask
    weights: Floats


def learned_list(training: Floats, control: Floats, fdr: float) -> LearnedList:
    """The training people who are significant by scores (T, K) and (C, K) at a false discovery rate.

    A ridge logistic regression learns which scores separate training from control people. For the test of one training
    person i, it is fitted once more with i among the control people. It then is a symmetric function of i and the
    control people, and so is t, the lowest score at which

        n_T #{control people and i at t or above} / ((n_C + 1) (1 + #{other training people at t or above}))

    is at most MARGIN times the false discovery rate. If i did not leak, i and the control people are exchangeable, so

        e_i = (n_C + 1) 1{score of i at t or above} / #{control people and i at t or above}

    has a mean of at most 1. The e-BH procedure (Wang and Ramdas 2022, doi:10.1111/rssb.12489) on the e_i controls the
    false discovery rate however they depend on each other. People who score far too low in a fit of everybody have an
    e of 0 without a fit of their own, which only lowers it.
    """
    n_t, n_c = len(training), len(control)
    features = _on_one_scale(np.concatenate([training, control]))
    is_training = np.arange(n_t + n_c) < n_t
    fit = _Fit(features, is_training)
    score = features @ fit.everybody
    start = _lowest(np.sort(score[n_t:]), np.sort(score[:n_t]), n_t, n_c, SLACK * fdr)
    e = np.zeros(n_t)
    for i in np.flatnonzero(score[:n_t] >= start - TIE):
        score = features @ fit.without(int(i))
        null, others = np.sort(np.append(score[n_t:], score[i])), np.sort(np.delete(score[:n_t], i))
        threshold = _lowest(null, np.append(others, np.inf), n_t, n_c + 1, MARGIN * fdr)
        if score[i] >= threshold - TIE:
            e[i] = (n_c + 1) / _at_least(null, threshold)
    return LearnedList(_e_bh(e, fdr), fit.everybody[:-1])


def _on_one_scale(scores: Floats) -> Floats:
    """Scores (N, K) of all people on the scale of scores, then of standard deviation 1, with a last column of ones."""
    columns = []
    for column in scores.T:
        clipped = np.clip(fit_score_scale(column).of(column), LOWEST, HIGHEST)
        columns.append((clipped - clipped.mean()) / max(float(clipped.std()), 1e-9))
    return np.column_stack([*columns, np.ones(len(scores))])


class _Fit:
    """Ridge logistic regressions of who is a training person (N,) on features (N, K + 1), the last of them ones."""

    def __init__(self, features: Floats, is_training: Mask) -> None:
        self._features, self._is_training = features, is_training
        self._penalty = np.append(np.full(features.shape[1] - 1, PENALTY), 1e-9)
        start = np.zeros(features.shape[1])
        self.everybody = self._newton(start, is_training, None)
        self._hessian = self._derivatives(self.everybody, is_training)[1]

    def without(self, i: int) -> Floats:
        """The coefficients (K + 1,) with training person i among the control people."""
        others = self._is_training.copy()
        others[i] = False
        # The optimum is close, so the old curvature leads there.
        return self._newton(self.everybody, others, self._hessian)

    def _newton(self, coefficients: Floats, is_training: Mask, hessian: Floats | None) -> Floats:
        """The optimum, by the curvature there if that is known. The loss is strictly convex, so any start will do."""
        for step in range(MAX_STEPS):
            gradient, curvature = self._derivatives(coefficients, is_training, hessian if step < FEW_STEPS else None)
            change = np.linalg.solve(curvature, gradient)
            # Far from the optimum a whole step can overshoot.
            coefficients = coefficients - change / max(1.0, float(np.abs(change).max()))
            if np.abs(change).max() <= TOLERANCE:
                break
        return coefficients

    def _derivatives(
        self, coefficients: Floats, is_training: Mask, hessian: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """The gradient and the curvature of the loss; the latter is ``hessian`` if that is given."""
        x = self._features
        weight = np.where(is_training, 0.5 / max(1, is_training.sum()), 0.5 / max(1, (~is_training).sum()))
        p = scipy.special.expit(x @ coefficients)
        gradient = x.T @ (weight * (p - is_training)) + self._penalty * coefficients
        if hessian is None:
            hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(self._penalty)
        return gradient, hessian


def _at_least(ascending: Floats, threshold: float) -> int:
    return len(ascending) - int(np.searchsorted(ascending, threshold - TIE))


def _lowest(null: Floats, others: Floats, n_tested: int, n_null: int, fdr: float) -> float:
    """The lowest of the ascending scores ``null`` and ``others`` from which on few enough are null; inf for none."""
    candidates = np.concatenate([null, others])
    n_above = len(null) - np.searchsorted(null, candidates - TIE)
    n_others = np.maximum(len(others) - np.searchsorted(others, candidates - TIE), 1)
    few = n_tested * n_above <= fdr * n_null * n_others
    return float(candidates[few & np.isfinite(candidates)].min(initial=np.inf))


def _e_bh(e: Floats, fdr: float) -> Mask:
    """Who is significant by e-values (N,) at a false discovery rate."""
    descending = np.sort(e)[::-1]
    enough = descending * fdr * np.arange(1, len(e) + 1) >= len(e) * (1 - 1e-12)
    n = int(np.flatnonzero(enough).max(initial=-1)) + 1
    return np.asarray(e >= descending[n - 1], np.bool_) if n else np.zeros(len(e), np.bool_)
