"""Forecasts the score from which a pair belongs to a query's list, before the query is compared.

At the start of a comparison every pair is among the best of its query so far, and has to be scored exactly. With a
forecast score in the free places of a list, only pairs above it are. Afterwards a list without free places is complete:
every pair above the forecast was found. Lists with free places are made again. So only speed depends on a forecast.
"""

from __future__ import annotations

import numpy as np

from unveil.compare.exact import UnitRows
from unveil.compare.topk import QuerySpec
from unveil.types import Floats

SAMPLE_ROWS = 4096  # of the gallery, for the spread of scores
DIRECTIONS = 64  # in which the spread of the gallery is measured; in the others it is taken to be the same
ITERATIONS = 2  # of the search for these directions
# Lists from which the next are forecast: enough for a quantile of 1%, which is taken for every panel.
REMEMBERED = 1 << 13
MISSED = 0.01  # the share of lists that are expected to end below their forecast and are made again


class Forecast:
    """Forecasts the lowest score of each query's list from the lists that are complete.

    A query's scores are about normal: the mean and the standard deviation follow from the mean and the covariance of a
    sample of the gallery. How many standard deviations above its mean a list ends is much the same for all queries.
    """

    def __init__(self, gallery: UnitRows, spec: QuerySpec) -> None:
        step = max(1, len(gallery) // SAMPLE_ROWS)
        rows, offset = np.asarray(gallery[::step], np.float32), spec.gallery_offset[::step]
        self._offset = float(offset.mean())
        self._centre = rows.mean(0, dtype=np.float64).astype(np.float32)
        centred, shift = rows - self._centre, (offset - self._offset).astype(np.float32)
        n, dims = centred.shape
        found = np.random.default_rng(0).normal(size=(dims, min(DIRECTIONS, dims))).astype(np.float32)
        for _ in range(ITERATIONS):
            found = np.linalg.qr(centred.T @ (centred @ found))[0]
        along = centred @ found
        others = max(1, dims - found.shape[1])
        self._directions = found
        self._rest = float(max(0.0, np.square(centred).sum(dtype=np.float64) - np.square(along).sum(dtype=np.float64)))
        self._rest /= n * others
        self._covariance = along.T @ along / n - np.eye(found.shape[1], dtype=np.float32) * self._rest
        # An offset of the gallery is one more dimension of its rows, in which every query is 1.
        self._with_offset = centred.T @ shift / n
        self._variance = float(shift.var()) + self._rest
        self._ends: Floats = np.zeros(0)

    def spread(self, queries: UnitRows, offset: Floats) -> tuple[Floats, Floats]:
        """About the mean and the standard deviation (N,) of each query's scores."""
        rows = np.asarray(queries, np.float32)
        along = rows @ self._directions
        variance = np.einsum("nd,nd->n", along @ self._covariance, along) + 2 * (rows @ self._with_offset)
        mean = (rows @ self._centre).astype(np.float64) + self._offset + offset
        return mean, np.sqrt(np.maximum(variance.astype(np.float64) + self._variance, 1e-12))

    def learn(self, spread: tuple[Floats, Floats], lowest: Floats) -> None:
        """Adds complete lists: the spread of each query's scores, and the lowest score (N,) of its list."""
        mean, deviation = spread
        self._ends = np.concatenate([self._ends, (lowest - mean) / deviation])[-REMEMBERED:]

    def lowest(self, spread: tuple[Floats, Floats], missed: float = MISSED) -> Floats:
        """The forecast (N,) for queries of that spread; the share ``missed`` of all lists so far ends below theirs.

        It is -inf when nothing was learnt.
        """
        mean, deviation = spread
        if not len(self._ends):
            return np.full(len(mean), -np.inf)
        return mean + np.quantile(self._ends, missed) * deviation
