"""The base class of baselines, and the distances that they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from unveil.types import Estimate, Floats, Ints, Vectors


@dataclass(frozen=True)
class BaselineInputs:
    """Distances between synthetic (S), training (T) and held-out control images (C) by one channel, any metric.

    T equals C. The held-out images are split in half: the first half is a reference, the second is tested against
    training images. Baselines share one random generator, in order.
    """

    synthetic: Vectors  # (S, D)
    training: Vectors  # (T, D)
    held_out: Vectors  # (C, D)
    synthetic_to_training: Floats  # (S, k) to the k nearest, ascending, 2 <= k <= 10
    synthetic_nearest: Ints  # (S,) row of the nearest training image
    synthetic_to_held_out: Floats  # (S,)
    training_to_other: Floats  # (T,) to the nearest other training image
    held_out_to_training: Floats  # (C,)
    held_out_nearest: Ints  # (C,) row of the nearest training image
    training_to_synthetic: Floats  # (T,)
    training_to_reference: Floats  # (T,)
    tested_to_synthetic: Floats  # (C/2,)
    tested_to_reference: Floats  # (C/2,)
    rng: np.random.Generator


class Baseline(ABC):
    """A measure of another author, by that author's definition.

    Baselines identify nobody and do not separate chance from a leak; docs/explanation/measurements.md says what each
    finds and misses.

    To add one, write one file in this package with the definition as a function of arrays and a subclass that applies
    it. Name the paper in the docstring, and test the function against the definition worked out by hand. Then add an
    instance to ``BASELINES`` in ``__init__.py`` and a field called ``name`` to `unveil.results.Baselines`.
    """

    name: str

    @abstractmethod
    def measure(self, inputs: BaselineInputs) -> Estimate:
        """The value with its interval."""
