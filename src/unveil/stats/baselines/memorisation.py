"""Memorised images: synthetic images far closer to one training image than to its other neighbours."""

from __future__ import annotations

import numpy as np

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.intervals import share
from unveil.types import Estimate, Floats

# An image below this score counts as memorised: the factor of the paper.
MEMORISED = 0.5
# Nearest training images of each synthetic image; the paper takes 50, an audit stores 10.
NEIGHBOURS = 10


def memorisation(nearest: Floats) -> Floats:
    """The score (S,) of each synthetic image: the distance to its nearest training image, divided by the mean distance
    to its k nearest (S, k), ascending. 1 is no memorisation, 0 is a copy.

    Carlini et al. 2023, arXiv 2301.13188, section 5.1. Their factor 0.5 is the threshold here.
    """
    mean = nearest.mean(axis=1)
    # A copy of several training images at once is one of each.
    return np.asarray(np.divide(nearest[:, 0], mean, out=np.zeros(len(nearest)), where=mean > 0), np.float64)


class MemorisedImages(Baseline):
    """The share of synthetic images of an audit that count as memorised."""

    name = "memorised"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `memorisation`."""
        n = int((memorisation(inputs.synthetic_to_training) < MEMORISED).sum())
        return share(n, len(inputs.synthetic_to_training), "share of memorised synthetic images (arXiv 2301.13188)")
