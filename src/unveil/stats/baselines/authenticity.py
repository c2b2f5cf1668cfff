"""AuthPct: the share of synthetic images that are authentic."""

from __future__ import annotations

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import share
from unveil.types import Estimate, Floats, Ints


def authenticity(to_training: Floats, nearest: Ints, training_to_other: Floats) -> Estimate:
    """The share of synthetic images (S,) that are farther from their nearest training image than that image is from its
    own nearest other one (T,); ``nearest`` (S,) are rows of the training set.

    AuthPct: Alaa et al. 2022, arXiv 2102.08921.
    """
    authentic = to_training > training_to_other[nearest]
    return share(
        int(authentic.sum()), len(to_training), "share of synthetic images that are authentic (arXiv 2102.08921)"
    )


class Authenticity(Baseline):
    """AuthPct of an audit."""

    name = "authenticity"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `authenticity`."""
        return authenticity(inputs.synthetic_to_training[:, 0], inputs.synthetic_nearest, inputs.training_to_other)
