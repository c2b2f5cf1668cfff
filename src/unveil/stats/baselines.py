"""Measures that others report of synthetic sets, by their authors' definitions, for comparison.

None of them names anybody or tells chance from a leak; docs/explanation/measurements.md says what each sees and misses.
Distances may be of any kind; the audit gives Euclidean ones between unit vectors.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp

from unveil.stats.intervals import LEVEL, NORMAL, share
from unveil.types import Estimate, Floats, Ints, Vectors

# In a cell with fewer generated pictures a rank test says little.
MIN_IN_CELL = 20


def authenticity(to_training: Floats, nearest: Ints, training_to_other: Floats) -> Estimate:
    """The share of synthetic pictures (S,) that are authentic: farther from their nearest training picture than that is
    from its own nearest other one (T,).

    AuthPct: Alaa et al. 2022, arXiv 2102.08921; ``nearest`` (S,) are rows of the training set.
    """
    authentic = to_training > training_to_other[nearest]
    return share(
        int(authentic.sum()), len(to_training), "share of synthetic pictures that are authentic (arXiv 2102.08921)"
    )


def cells(training: Vectors, n_cells: int, rng: np.random.Generator) -> Ints:
    """The cell (N,) of each training vector (N, D) in a partition by k-means."""
    return np.asarray(kmeans2(np.asarray(training, np.float64), n_cells, minit="++", rng=rng)[1], np.int64)


def data_copying(
    generated_to_training: Floats, held_out_to_training: Floats, generated_cell: Ints, held_out_cell: Ints
) -> Estimate:
    """C_T: how much closer generated pictures (M,) are to training pictures than held-out ones (N,) are, in standard
    errors of a rank test, averaged over cells of a partition by their held-out pictures. Far below 0 is copying.

    Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675: in each cell the Mann-Whitney U of
    generated against held-out distances, standardised. Cells with few generated or no held-out pictures do not count.
    """
    total = weight = 0.0
    for cell in np.unique(held_out_cell):
        made, real = generated_to_training[generated_cell == cell], held_out_to_training[held_out_cell == cell]
        m, n = len(made), len(real)
        if m < MIN_IN_CELL:
            continue
        u = float(stats.mannwhitneyu(made, real).statistic)
        z = (u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
        total, weight = total + n * z, weight + n
    value = total / weight if weight else 0.0
    # Each cell's z has variance 1 under the null of equal distances; one cell is the widest case.
    return Estimate(
        *(value, value - NORMAL, value + NORMAL, LEVEL, len(generated_to_training)),
        "C_T (arXiv 2004.05675), interval of a standard normal",
    )


def closer_to_training(to_training: Floats, to_held_out: Floats) -> Estimate:
    """The share of synthetic pictures (S,) that lie closer to the training than to the held-out set, ties counted half;
    one half without a leak, when both sets are equally large and alike.

    Platzer and Reutterer 2021, arXiv 2104.00635.
    """
    n = len(to_training)
    closer, same = int((to_training < to_held_out).sum()), int((to_training == to_held_out).sum())
    value = (closer + same / 2) / n if n else 0.0
    method = "share of synthetic pictures closer to training (arXiv 2104.00635)"
    low, high = share(closer + same // 2, n, method), share(closer + (same + 1) // 2, n, method)
    return Estimate(value, low.low, high.high, LEVEL, n, low.method)


def neighbour_ratio(first: Floats, second: Floats) -> Estimate:
    """The 5th percentile of d(nearest) / d(second nearest) training picture over synthetic pictures (S,).

    As reported by Zhao et al. 2021, arXiv 2102.08369; near 0 a picture is singled out.
    """
    ratio = np.sort(np.divide(first, second, out=np.ones(len(first)), where=second > 0))
    n = len(ratio)
    low, high = stats.binom.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n, 0.05).astype(int)
    value = float(np.quantile(ratio, 0.05))
    return Estimate(
        *(value, min(value, float(ratio[max(0, low - 1)])), max(value, float(ratio[min(n - 1, high)])), LEVEL, n),
        "5th percentile of nearest to second nearest distance (arXiv 2102.08369), interval of order statistics",
    )


def calibrated_distance(to_generated: Floats, to_reference: Floats) -> Floats:
    """How much closer each real picture (N,) lies to the generated set than to a reference: higher is more likely a
    member.

    GAN-Leaks calibrated: Chen et al. 2020, arXiv 1909.03935, L(x|G_v) - L(x|G_r), with the sign turned.
    Their reference is a generator trained on other pictures; here it is other real pictures.
    """
    return to_reference - to_generated


def density_ratio(to_generated: Floats, to_reference: Floats, width: float, dimension: int) -> Floats:
    """log p_G(x) - log p_R(x) of real pictures, from distances (N, M) to generated and (N, R) to reference pictures by
    Gaussian kernels of one ``width``.

    DOMIAS: van Breugel et al. 2023, arXiv 2302.12580, with kernel density estimates.
    """

    def log_density(distances: Floats) -> Floats:
        constant = np.log(distances.shape[1]) + dimension * np.log(width * np.sqrt(2 * np.pi))
        return np.asarray(logsumexp(-((distances / width) ** 2) / 2, axis=1) - constant, np.float64)

    return log_density(to_generated) - log_density(to_reference)
