"""Whitening: what every synthetic picture shares counts little, what few of them have counts much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Vectors

# Added to each direction's variance, as a share of the mean variance: directions in which the synthetic set hardly
# differs are not blown up without end. Chosen in the lab (docs/decisions/0012-channels.md).
RIDGE = 0.2
# Fewer pictures say too little of how a set varies; more change nothing.
MIN_IMAGES, MAX_IMAGES = 50, 50_000
CHUNK = 8192


@dataclass(frozen=True)
class Whitening:
    """A linear map of vectors (N, D) to unit vectors of the same dimension: ``centre`` (D,), ``rows`` (D, D)."""

    centre: Floats
    rows: Floats

    def apply(self, vectors: Vectors) -> Vectors:
        """Unit rows (N, D) float32."""
        seen = (np.asarray(vectors, np.float64) - self.centre) @ self.rows
        length = np.linalg.norm(seen, axis=1, keepdims=True)
        # The centre itself points nowhere; it is given a direction, since every picture has one.
        seen[length[:, 0] < 1e-9] = np.eye(1, seen.shape[1])
        return np.asarray(seen / np.where(length < 1e-9, 1, length), np.float32)


def fit_whitening(synthetic: Vectors) -> Whitening:
    """The whitening by the covariance of synthetic vectors (N, D), with a ridge: (C + RIDGE tr(C)/D I)^(-1/2).

    Learnt on the synthetic set alone, so training and control people stay exchangeable under the null. Below FEWEST
    vectors nothing is whitened.
    """
    n, dimension = synthetic.shape
    if n < MIN_IMAGES:
        return Whitening(np.zeros(dimension), np.eye(dimension))
    some = np.asarray(synthetic[np.linspace(0, n - 1, min(n, MAX_IMAGES)).astype(np.int64)], np.float64)
    centre = some.mean(0)
    variance, directions = np.linalg.eigh(np.cov(some.T))
    variance = np.maximum(variance, 0) + max(RIDGE * float(variance.mean()), 1e-12)
    return Whitening(centre, directions / np.sqrt(variance) @ directions.T)
