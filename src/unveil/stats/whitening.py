"""Whitening by the synthetic set: features that all synthetic images share count little, rare ones count much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Vectors

# Added to the variance of each direction, as a share of the mean variance. It limits how much directions in which the
# synthetic set barely varies are amplified. Chosen in the lab (docs/decisions/0012-channels.md).
RIDGE = 0.2
# Fewer images do not determine a covariance; more change nothing.
MIN_IMAGES, MAX_IMAGES = 50, 50_000
CHUNK = 8192


@dataclass(frozen=True)
class Whitening:
    """A linear map of vectors (N, D) to unit vectors of the same dimension: ``centre`` (D,), ``rows`` (D, D)."""

    centre: Floats
    rows: Floats

    def apply(self, vectors: Vectors) -> Vectors:
        """Unit rows (N, D) float32."""
        whitened = self._whitened(vectors)
        length = np.linalg.norm(whitened, axis=1, keepdims=True)
        # The centre has no direction; the first axis is used, since every image needs one.
        whitened[length[:, 0] < 1e-9] = np.eye(1, whitened.shape[1])
        return np.asarray(whitened / np.where(length < 1e-9, 1, length), np.float32)

    def distance(self, vectors: Vectors) -> Floats:
        """The Mahalanobis distance (N,) of vectors (N, D) from the centre."""
        blocks = (vectors[i : i + CHUNK] for i in range(0, len(vectors), CHUNK))
        lengths = [np.linalg.norm(self._whitened(block), axis=1) for block in blocks]
        return np.concatenate([np.zeros(0), *lengths])

    def _whitened(self, vectors: Vectors) -> Floats:
        whitened: Floats = (np.asarray(vectors, np.float64) - self.centre) @ self.rows
        return whitened


def fit_whitening(synthetic: Vectors, ridge: float = RIDGE) -> Whitening:
    """The whitening by the covariance C of vectors (N, D), with a ridge: (C + ridge tr(C)/D I)^(-1/2).

    The appearance channel is whitened by the synthetic set alone, so training and control people stay exchangeable
    under the null. With fewer than MIN_IMAGES vectors nothing is whitened.
    """
    n, dimension = synthetic.shape
    if n < MIN_IMAGES:
        return Whitening(np.zeros(dimension), np.eye(dimension))
    some = np.asarray(synthetic[np.linspace(0, n - 1, min(n, MAX_IMAGES)).astype(np.int64)], np.float64)
    centre = some.mean(0)
    variance, directions = np.linalg.eigh(np.cov(some.T))
    variance = np.maximum(variance, 0) + max(ridge * float(variance.mean()), 1e-12)
    return Whitening(centre, directions / np.sqrt(variance) @ directions.T)
