"""The share of synthetic images that are closer to the training than to the held-out set."""

from __future__ import annotations

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import LEVEL, share
from unveil.types import Estimate, Floats


def closer_to_training(to_training: Floats, to_held_out: Floats) -> Estimate:
    """The share of synthetic images (S,) that are closer to the training than to the held-out set; ties count half.

    It is one half without a leak, where both sets are equally large and comparable. Platzer and Reutterer 2021,
    arXiv 2104.00635.
    """
    n = len(to_training)
    closer, ties = int((to_training < to_held_out).sum()), int((to_training == to_held_out).sum())
    value = (closer + ties / 2) / n if n else 0.0
    method = "share of synthetic images closer to training (arXiv 2104.00635)"
    low, high = share(closer + ties // 2, n, method), share(closer + (ties + 1) // 2, n, method)
    return Estimate(value, low.low, high.high, LEVEL, n, low.method)


class CloserToTraining(Baseline):
    """The share of an audit."""

    name = "closer_to_training"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `closer_to_training`."""
        return closer_to_training(inputs.synthetic_to_training[:, 0], inputs.synthetic_to_held_out)
