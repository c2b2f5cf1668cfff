"""Balance of training and control people: whether they differ in anything but membership, and matching.

Nothing here uses how close the synthetic set comes to a training person. A difference that remains without it has other
reasons than membership.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import difference
from unveil.stats.membership import auc_estimate
from unveil.types import Estimate, Floats, Ints, Mask

RidgeModel = Callable[[Floats], Floats]

FOLDS = 5
PENALTIES = np.geomspace(1e-3, 1e3, 25)  # of the ridge, relative to the mean eigenvalue
# More people than this change no coefficient that matters.
MAX_FITTED = 4000
BANDS = 10
# With fewer control people nothing can be calibrated.
MIN_CONTROL_PEOPLE = 60
# Difference of prognostic scores, in standard deviations, from which control people are matched.
SHIFT_WARN = 0.1
# In a cell with fewer control people per training person than this part of the overall ratio, nobody is tested.
MIN_DENSITY = 0.25


@dataclass(frozen=True)
class PrognosticModel:
    """Prognostic scores of training (T,) and control people (C,): exposures predicted from their real images alone.

    The model of a person never uses that person's own exposure.
    """

    training: Floats
    control: Floats


def fit_prognostic_score(
    training_features: Floats, control_features: Floats, control_exposure: Floats, rng: np.random.Generator
) -> PrognosticModel:
    """Predicts exposures from features of real images alone: prognostic scores (Hansen 2008,
    doi:10.1093/biomet/asn004).

    The model is a ridge regression on control people (C, F), with the penalty by generalised cross-validation. The fold
    of a control person is left out of their model, and each training person (T, F) is assigned a fold at random, so
    both sides are predicted alike. Exposures of training people are not used, so membership cannot enter.
    """
    n_t, n_c = len(training_features), len(control_features)
    fold_t, fold_c = rng.permutation(n_t) % FOLDS, rng.permutation(n_c) % FOLDS
    score_t, score_c = np.zeros(n_t), np.zeros(n_c)
    for fold in range(FOLDS):
        rows = rng.permutation(np.flatnonzero(fold_c != fold))[:MAX_FITTED]
        model = _ridge(control_features[rows], control_exposure[rows])
        score_t[fold_t == fold] = model(training_features[fold_t == fold])
        score_c[fold_c == fold] = model(control_features[fold_c == fold])
    return PrognosticModel(score_t, score_c)


def prognostic_shift(prognosis: PrognosticModel, control_exposure: Floats) -> Estimate:
    """The mean prognostic score of training people minus that of control people: how much more exposed they would be
    for reasons other than membership.

    It is in standard deviations of the exposures of control people (C,).
    """
    return difference(
        prognosis.training,
        prognosis.control,
        float(control_exposure.std()),
        "difference of prognostic scores, in standard deviations of the exposure of control people",
    )


def classifier_auc(training_features: Floats, control_features: Floats, rng: np.random.Generator) -> Estimate:
    """AUC of a classifier of training (T, F) against control people (C, F) that never sees the synthetic set; 0.5 is
    chance.

    A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545; as a check of membership inference, Das et
    al. 2024, arXiv 2406.16201): a cross-validated ridge discriminant.
    """
    features = np.concatenate([training_features, control_features])
    n_t = len(training_features)
    label = np.concatenate([np.full(n_t, 1.0), np.full(len(control_features), -1.0)])
    fold = rng.permutation(len(label)) % FOLDS
    score = np.zeros(len(label))
    for f in range(FOLDS):
        rows = rng.permutation(np.flatnonzero(fold != f))[:MAX_FITTED]
        # Both sides have the same total weight.
        weights = np.where(label[rows] > 0, 1 / max(1, (label[rows] > 0).sum()), 1 / max(1, (label[rows] < 0).sum()))
        score[fold == f] = _ridge(features[rows], label[rows], weights)(features[fold == f])
    return auc_estimate(score[:n_t], score[n_t:], rng)


def _ridge(features: Floats, target: Floats, weights: Floats | None = None) -> RidgeModel:
    """Ridge regression on standardised features, with the penalty by generalised cross-validation (Golub et al. 1979,
    doi:10.1080/00401706.1979.10489751)."""
    n = len(features)
    w = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    centre = w @ features
    scale = np.sqrt(w @ (features - centre) ** 2)
    scale[scale < 1e-9] = 1
    root = np.sqrt(n * w)[:, None]
    x = (features - centre) / scale * root
    level = float(w @ target)
    y = (target - level) * root[:, 0]
    values, vectors = np.linalg.eigh(x.T @ x / n)
    values = np.maximum(values, 0)
    projected = vectors.T @ (x.T @ y) / n
    penalties = PENALTIES * max(float(values.mean()), 1e-12)
    shrink = values / (values + penalties[:, None])
    explained = (2 * shrink - shrink**2) @ np.where(values > 1e-12, projected**2 / np.maximum(values, 1e-12), 0)
    residual = np.maximum(float(y @ y) / n - explained, 0)
    # Never more parameters than people.
    freedom = np.minimum(1 + shrink.sum(1), n - 1)
    best = int(np.argmin(residual / (1 - freedom / n) ** 2))
    coefficients = vectors @ (projected / (values + penalties[best]))

    def model(others: Floats) -> Floats:
        predicted: Floats = ((others - centre) / scale) @ coefficients + level
        return predicted

    return model


def match_people(
    training: Floats, control: Floats, training_strata: Ints, control_strata: Ints, rng: np.random.Generator
) -> tuple[Mask, Mask]:
    """Which training (T,) and control people (C,) are tested, so that both have the same distribution of prognostic
    scores and strata.

    A cell is a stratum and a tenth of the prognostic scores. Control people are drawn at random, so that each cell has
    the same number of them per training person. Training people in cells with too few control people are not tested.
    """
    edges = np.quantile(np.concatenate([training, control]), np.linspace(0, 1, BANDS + 1)[1:-1])
    n_strata = int(max(training_strata.max(initial=0), control_strata.max(initial=0))) + 1
    cell_t = np.searchsorted(edges, training) * n_strata + training_strata
    cell_c = np.searchsorted(edges, control) * n_strata + control_strata
    n_cells = BANDS * n_strata
    count_t, count_c = np.bincount(cell_t, minlength=n_cells), np.bincount(cell_c, minlength=n_cells)
    overall = len(control) / max(1, len(training))
    tested = (count_t > 0) & (count_c > MIN_DENSITY * overall * count_t)
    if not tested.any():
        return np.zeros(len(training), np.bool_), np.zeros(len(control), np.bool_)
    ratio = float((count_c[tested] / count_t[tested]).min())
    n_drawn = np.where(tested, np.minimum(count_c, np.floor(ratio * count_t + rng.random(n_cells))), 0)
    order = np.lexsort((rng.random(len(cell_c)), cell_c))
    rank = np.empty(len(cell_c), np.int64)
    rank[order] = np.arange(len(cell_c)) - np.searchsorted(cell_c[order], cell_c[order])
    return tested[cell_t], np.asarray(rank < n_drawn[cell_c], np.bool_)
