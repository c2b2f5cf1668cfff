"""C_T: how much closer synthetic than held-out images are to training images."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import LEVEL, NORMAL
from unveil.types import Estimate, Floats, Ints, Vectors

# With fewer generated images in a cell, a rank test says little.
MIN_IN_CELL = 20
# Training images per cell of the partition.
CELL_SIZE = 250


def partition(training: Vectors, n_cells: int, rng: np.random.Generator) -> Ints:
    """The cell (N,) of each training vector (N, D), by k-means."""
    found = scipy.cluster.vq.kmeans2(np.asarray(training, np.float64), n_cells, minit="++", rng=rng)
    return np.asarray(found[1], np.int64)


def data_copying(
    generated_to_training: Floats, held_out_to_training: Floats, generated_cell: Ints, held_out_cell: Ints
) -> Estimate:
    """C_T of generated (M,) and held-out (N,) distances to the training set; far below 0 is copying.

    Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675. In each cell it is the standardised Mann-Whitney U of
    generated against held-out distances; cells are averaged by their held-out images. Cells with few generated images,
    or with no held-out ones, do not count.
    """
    total = weight = 0.0
    for cell in np.unique(held_out_cell):
        generated = generated_to_training[generated_cell == cell]
        held_out = held_out_to_training[held_out_cell == cell]
        m, n = len(generated), len(held_out)
        if m < MIN_IN_CELL:
            continue
        u = float(scipy.stats.mannwhitneyu(generated, held_out).statistic)
        z = (u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
        total, weight = total + n * z, weight + n
    value = total / weight if weight else 0.0
    # The z of each cell has variance 1 under the null of equal distances; a single cell is the widest case.
    return Estimate(
        *(value, value - NORMAL, value + NORMAL, LEVEL, len(generated_to_training)),
        "C_T (arXiv 2004.05675), interval of a standard normal",
    )


class DataCopying(Baseline):
    """C_T of an audit, with one cell for every CELL_SIZE training images."""

    name = "data_copying"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `data_copying`."""
        cells = partition(inputs.training, max(1, len(inputs.training) // CELL_SIZE), inputs.rng)
        return data_copying(
            *(inputs.synthetic_to_training[:, 0], inputs.held_out_to_training),
            *(cells[inputs.synthetic_nearest], cells[inputs.held_out_nearest]),
        )
