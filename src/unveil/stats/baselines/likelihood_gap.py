"""FLD generalisation gap: whether the synthetic set explains training images better than held-out ones."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import LEVEL, NORMAL
from unveil.types import Estimate, Floats, Ints, Vectors

# Images of each set that are used: the fit costs their product in every one of its steps.
MAX_IMAGES = 1000
# A lower gap says no more.
LOWEST = -1000.0
# Of the authors' program: steps and rate of Adam, and how far the component in the middle keeps from the images.
STEPS, RATE, MIDDLE = 50, 0.5, 0.9
DECAY, SQUARED_DECAY, EPSILON = 0.9, 0.999, 1e-8
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE, NEAREST = -40.0, 20.0, 1e-3


def likelihood_gap(synthetic: Vectors, training: Vectors, held_out: Vectors) -> Estimate:
    """100 (NLL of training images (T, D) - NLL of held-out images (C, D)), per dimension; far below 0 is copying.

    FLD: Jiralerspong et al. 2023, arXiv 2302.04440, as in github.com/marcojira/fld. Features are standardised by the
    held-out set. A mixture of one isotropic Gaussian for each synthetic image (S, D) is fitted to the training images,
    which decides the variances only. A synthetic image that copies a training image gets a small variance, which
    explains no held-out image. Values below -1,000 are reported as -1,000: the authors call this complete memorisation.
    """
    held_out_64 = np.asarray(held_out, np.float64)
    spread = held_out_64.std(axis=0, ddof=1)
    spread[spread == 0] = 1.0
    made, real, other = (
        (np.asarray(x, np.float64) - held_out_64.mean(axis=0)) / spread for x in (synthetic, training, held_out)
    )
    dimension = made.shape[1]
    log_variance = fitted_log_variance(_squared(real, made), _squared(real, real.mean(axis=0)[None]), dimension)

    def nll(images: Floats) -> Floats:
        log_density = _log_density(_squared(images, made), log_variance, dimension) - np.log(len(made))
        return np.asarray(-scipy.special.logsumexp(log_density, axis=1) / dimension, np.float64)

    a, b = 100 * nll(real), 100 * nll(other)
    value = float(a.mean() - b.mean())
    half = NORMAL * float(np.sqrt(a.var() / len(a) + b.var() / len(b)))
    low, middle, high = (max(LOWEST, v) for v in (value - half, value, value + half))
    method = "generalisation gap of FLD (arXiv 2302.04440), normal interval over images"
    return Estimate(middle, low, high, LEVEL, len(a) + len(b), method)


def fitted_log_variance(squared: Floats, to_middle: Floats, dimension: int) -> Floats:
    """The log variances (S,) with the highest likelihood of training images, by the authors' 50 steps of Adam.

    ``squared`` (T, S) are squared distances of training to synthetic images, ``to_middle`` (T, 1) to the mean training
    image, where a further component keeps every likelihood from vanishing.
    """
    squared = np.hstack([squared, MIDDLE**2 * to_middle])
    n = squared.shape[1] - 1
    weight = np.append(np.full(n, -np.log(n)), 0.0)
    log_variance = np.append(np.log((squared[:, :n].min(axis=0) + NEAREST) / dimension), 0.0)
    mean, square = np.zeros(n + 1), np.zeros(n + 1)
    for step in range(1, STEPS + 1):
        log_density = _log_density(squared, log_variance, dimension) + weight
        # The share of each component in the likelihood of each image.
        share = np.exp(log_density - scipy.special.logsumexp(log_density, axis=1, keepdims=True))
        slope = (share * (squared / np.exp(log_variance) - dimension)).sum(axis=0) / 2
        gradient = -slope / (len(squared) * dimension)
        mean = DECAY * mean + (1 - DECAY) * gradient
        square = SQUARED_DECAY * square + (1 - SQUARED_DECAY) * gradient**2
        corrected = mean / (1 - DECAY**step), square / (1 - SQUARED_DECAY**step)
        log_variance -= RATE * corrected[0] / (np.sqrt(corrected[1]) + EPSILON)
        log_variance[:n] = np.clip(log_variance[:n], MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
    return log_variance[:n]


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances (N, M) of the rows of two sets."""
    apart = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(apart, 0), np.float64)


def _log_density(squared: Floats, log_variance: Floats, dimension: int) -> Floats:
    """Log densities (N, M) of isotropic Gaussians at squared distances (N, M)."""
    exponent = squared / np.exp(log_variance) + dimension * (log_variance + np.log(2 * np.pi))
    return np.asarray(-exponent / 2, np.float64)


def _some(n: int) -> Ints:
    """At most MAX_IMAGES rows, evenly spaced."""
    return np.linspace(0, n - 1, min(n, MAX_IMAGES)).astype(np.int64)


class LikelihoodGap(Baseline):
    """The gap of an audit, with at most MAX_IMAGES images of each set."""

    name = "likelihood_gap"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `likelihood_gap`."""
        return likelihood_gap(*(x[_some(len(x))] for x in (inputs.synthetic, inputs.training, inputs.held_out)))
