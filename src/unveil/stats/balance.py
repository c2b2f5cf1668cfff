"""Whether control people are like training people in everything but membership, and the part of them that is.

Nothing here looks at how close the synthetic set comes to a training person: what differs without that differs for
other reasons than membership.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.stats.intervals import difference
from unveil.stats.membership import auc_estimate
from unveil.types import Estimate, Floats, Ints

Mask = npt.NDArray[np.bool_]
RidgeModel = Callable[[Floats], Floats]

FOLDS = 5
PENALTIES = np.geomspace(1e-3, 1e3, 25)  # of the ridge, in units of the mean eigenvalue
# More people than this change no coefficient that matters.
MAX_FITTED = 4000
BANDS = 10
# With fewer control people nothing can be calibrated.
MIN_CONTROL_PEOPLE = 60
# Difference of prognostic scores, in standard deviations, from which control people are matched.
SHIFT_WARN = 0.1
# A band in which control people are this much rarer than on the whole cannot stand for its training people.
MIN_DENSITY = 0.25


@dataclass(frozen=True)
class PrognosticModel:
    """The exposure that a person's own pictures foretell: training (T,) and control people (C,), never having seen
    the person's own exposure."""

    training: Floats
    control: Floats


def fit_prognostic_score(
    training_features: Floats, control_features: Floats, control_exposure: Floats, rng: np.random.Generator
) -> PrognosticModel:
    """Foretells exposures from features of the real pictures alone: prognostic scores (Hansen 2008,
    doi:10.1093/biomet/asn004).

    A ridge regression on control people (C, F), penalty by generalised cross-validation. Each control person is
    foretold without their own fold, and each training person (T, F) by the model of a fold drawn at random, so that
    both sides are foretold alike. Membership cannot enter: training people's exposures are not used.
    """
    n_t, n_c = len(training_features), len(control_features)
    fold_t, fold_c = rng.permutation(n_t) % FOLDS, rng.permutation(n_c) % FOLDS
    told_t, told_c = np.zeros(n_t), np.zeros(n_c)
    for fold in range(FOLDS):
        rows = rng.permutation(np.flatnonzero(fold_c != fold))[:MAX_FITTED]
        model = _ridge(control_features[rows], control_exposure[rows])
        told_t[fold_t == fold] = model(training_features[fold_t == fold])
        told_c[fold_c == fold] = model(control_features[fold_c == fold])
    return PrognosticModel(told_t, told_c)


def prognostic_shift(prognosis: PrognosticModel, control_exposure: Floats) -> Estimate:
    """How much more exposed training people would be for reasons other than membership, in standard deviations of
    the control people's exposure."""
    return difference(
        prognosis.training,
        prognosis.control,
        float(control_exposure.std()),
        "difference of the exposures that real pictures alone foretell, in standard deviations of the control people's "
        "exposure",
    )


def classifier_auc(training_features: Floats, control_features: Floats, rng: np.random.Generator) -> Estimate:
    """How well training people are told from control people without looking at the synthetic set: AUC, .5 is not at
    all.

    A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545; as a check of membership inference, Das
    et al. 2024, arXiv 2406.16201): a ridge discriminant, each person judged without their own fold.
    """
    features = np.concatenate([training_features, control_features])
    n_t = len(training_features)
    label = np.concatenate([np.full(n_t, 1.0), np.full(len(control_features), -1.0)])
    fold = rng.permutation(len(label)) % FOLDS
    score = np.zeros(len(label))
    for f in range(FOLDS):
        rows = rng.permutation(np.flatnonzero(fold != f))[:MAX_FITTED]
        # Each side weighs as much as the other, whatever its size.
        weights = np.where(label[rows] > 0, 1 / max(1, (label[rows] > 0).sum()), 1 / max(1, (label[rows] < 0).sum()))
        score[fold == f] = _ridge(features[rows], label[rows], weights)(features[fold == f])
    return auc_estimate(score[:n_t], score[n_t:], rng)


def _ridge(features: Floats, wanted: Floats, weights: Floats | None = None) -> RidgeModel:
    """Ridge regression on standardised features, the penalty by generalised cross-validation (Golub et al. 1979,
    doi:10.1080/00401706.1979.10489751)."""
    n = len(features)
    w = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    centre = w @ features
    scale = np.sqrt(w @ (features - centre) ** 2)
    scale[scale < 1e-9] = 1
    root = np.sqrt(n * w)[:, None]
    x = (features - centre) / scale * root
    level = float(w @ wanted)
    y = (wanted - level) * root[:, 0]
    values, vectors = np.linalg.eigh(x.T @ x / n)
    values = np.maximum(values, 0)
    along = vectors.T @ (x.T @ y) / n
    penalties = PENALTIES * max(float(values.mean()), 1e-12)
    shrink = values / (values + penalties[:, None])
    explained = (2 * shrink - shrink**2) @ np.where(values > 1e-12, along**2 / np.maximum(values, 1e-12), 0)
    left = np.maximum(float(y @ y) / n - explained, 0)
    # Never more parameters than people.
    freedom = np.minimum(1 + shrink.sum(1), n - 1)
    best = int(np.argmin(left / (1 - freedom / n) ** 2))
    coefficients = vectors @ (along / (values + penalties[best]))

    def model(others: Floats) -> Floats:
        told: Floats = ((others - centre) / scale) @ coefficients + level
        return told

    return model


def match_people(
    training: Floats, control: Floats, training_strata: Ints, control_strata: Ints, rng: np.random.Generator
) -> tuple[Mask, Mask]:
    """Which training (T,) and control people (C,) take part, so that foretold exposures and strata are spread alike.

    People are put in cells: a stratum and a tenth of the foretold exposure. Control people are drawn at random so that
    each cell holds the same number of them for each training person. Training people in cells with hardly any control
    people are set aside: nothing can stand for them.
    """
    edges = np.quantile(np.concatenate([training, control]), np.linspace(0, 1, BANDS + 1)[1:-1])
    n_strata = int(max(training_strata.max(initial=0), control_strata.max(initial=0))) + 1
    cell_t = np.searchsorted(edges, training) * n_strata + training_strata
    cell_c = np.searchsorted(edges, control) * n_strata + control_strata
    n_cells = BANDS * n_strata
    count_t, count_c = np.bincount(cell_t, minlength=n_cells), np.bincount(cell_c, minlength=n_cells)
    overall = len(control) / max(1, len(training))
    served = (count_t > 0) & (count_c > MIN_DENSITY * overall * count_t)
    if not served.any():
        return np.zeros(len(training), np.bool_), np.zeros(len(control), np.bool_)
    ratio = float((count_c[served] / count_t[served]).min())
    wanted = np.where(served, np.minimum(count_c, np.floor(ratio * count_t + rng.random(n_cells))), 0)
    order = np.lexsort((rng.random(len(cell_c)), cell_c))
    rank = np.empty(len(cell_c), np.int64)
    rank[order] = np.arange(len(cell_c)) - np.searchsorted(cell_c[order], cell_c[order])
    return served[cell_t], np.asarray(rank < wanted[cell_c], np.bool_)
