"""Random generators, one for each purpose."""

from __future__ import annotations

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose. A further purpose leaves the random numbers of the others unchanged."""
    return np.random.default_rng([seed, *purpose.encode()])
