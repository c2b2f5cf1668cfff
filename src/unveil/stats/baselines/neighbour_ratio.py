"""The ratio of the distances to the nearest and the second nearest training image."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Floats


def neighbour_ratio(first: Floats, second: Floats) -> Estimate:
    """The 5th percentile of d(nearest) / d(second nearest) training image over synthetic images (S,).

    Near 0 one training image is singled out. As reported by Zhao et al. 2021, arXiv 2102.08369.
    """
    ratio = np.sort(np.divide(first, second, out=np.ones(len(first)), where=second > 0))
    n = len(ratio)
    low, high = scipy.stats.binom.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n, 0.05).astype(int)
    value = float(np.quantile(ratio, 0.05))
    return Estimate(
        *(value, min(value, float(ratio[max(0, low - 1)])), max(value, float(ratio[min(n - 1, high)])), LEVEL, n),
        "5th percentile of nearest to second nearest distance (arXiv 2102.08369), interval of order statistics",
    )


class NeighbourRatio(Baseline):
    """The ratio of an audit."""

    name = "neighbour_ratio"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `neighbour_ratio`."""
        return neighbour_ratio(inputs.synthetic_to_training[:, 0], inputs.synthetic_to_training[:, 1])
