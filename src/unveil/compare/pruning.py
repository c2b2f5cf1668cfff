"""Chooses the order in which the kernel takes dimensions, and after which it checks whether a tile can still count.

In the basis of their principal components, vectors have most of their length in the first dimensions. After some of
them, a score is at most its partial sum plus |a_rest| |b_rest|. If that is too low for every pair of a tile, the other
dimensions need not be multiplied. A rotation changes no score beyond a proven error, and every pair in the result is
scored from the original vectors.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from unveil.compare.error_bounds import QuantisedRows, gamma
from unveil.compare.exact import Float32s, UnitRows
from unveil.compare.topk import QuerySpec
from unveil.types import Floats, Ints

Matrix = npt.NDArray[np.float32]

SAMPLE_ROWS = 2048  # of each set for the basis
RANKED_ROWS = 1024  # with which some rows are compared to estimate where their lists end
SAMPLE_TILES = 32  # groups of queries and strips of the gallery in the sample
CHECK_GRID = 32  # dimensions between places where a check may be
MAX_CHECKS = 3
# Measured on Zen 4 in steps of a tile (four dimensions of all its pairs): a check, an exact score, rotating a row.
CHECK_COST, SCORE_COST, ROTATION_COST = 4.0, 45.0, 700.0
MAX_RELATIVE_COST = 0.95  # a rotation must save at least 5%


@dataclass(frozen=True)
class DimensionOrder:
    """A basis (D, D), None for the original dimensions, and the numbers of dimensions after which to check a tile."""

    basis: Matrix | None = field(default=None, repr=False)
    checks: tuple[int, ...] = ()

    @property
    def check_steps(self) -> tuple[int, ...]:
        """The checks in steps of four dimensions."""
        return tuple(check // 4 for check in self.checks)

    @functools.cached_property
    def rotation_error(self) -> float:
        """The norm of the error when a unit row is rotated in float32: gamma_D times the norm of |basis|.

        Higham 2002, section 3.5 (doi:10.1137/1.9780898718027).
        """
        if self.basis is None:
            return 0.0
        size = np.abs(self.basis.astype(np.float64))
        norm = np.sqrt(size.sum(0).max() * size.sum(1).max())  # at least the spectral norm
        return float(1.01 * gamma(len(self.basis)) * norm)

    @functools.cached_property
    def basis_error(self) -> float:
        """How much the stored basis changes a score of unit rows because it is not exactly orthogonal."""
        if self.basis is None:
            return 0.0
        exact = self.basis.astype(np.float64)
        return float(1.02 * np.linalg.norm(exact @ exact.T - np.eye(len(exact))))

    def rotated(self, rows: UnitRows) -> UnitRows:
        """Rows (N, D) in the basis, float32; the same rows when there is none."""
        return rows if self.basis is None else np.asarray(rows, np.float32) @ self.basis


ORIGINAL = DimensionOrder()


def choose_dimension_order(
    queries: UnitRows, gallery: UnitRows, specs: Sequence[QuerySpec], tile: tuple[int, int]
) -> DimensionOrder:
    """The order that costs least on a sample of tiles (height, width); only speed depends on it.

    ``specs`` are what one pass has to find.
    """
    dims, (height, width) = queries.shape[1], tile
    n_tiles = len(queries) * len(gallery) / (height * width)
    rotation = ROTATION_COST * (dims / 512) ** 2 * (len(queries) + len(gallery))
    # Tiles with a pair of some list cannot be skipped, and of a small gallery most have one.
    listed = max(spec.top_k for spec in specs) / max(1, len(gallery)) * height * width
    if dims < 2 * CHECK_GRID or 0.5 * math.exp(-listed) * n_tiles * dims / 4 < rotation:
        return ORIGINAL
    principal = DimensionOrder(_principal_basis(queries, gallery))
    groups, strips = _sample_runs(queries, height), _sample_runs(gallery, width)
    rows, columns = queries[groups], gallery[strips]
    need = np.minimum.reduce([_needed_cosines(queries, gallery, spec, groups, strips, width) for spec in specs])

    original = _TileSample(rows, columns, need, tile)
    rotated = _TileSample(principal.rotated(rows), principal.rotated(columns), need, tile)
    places = range(CHECK_GRID, dims, CHECK_GRID)
    remaining = {place: rotated.remaining(place) for place in places}
    choices = itertools.chain.from_iterable(itertools.combinations(places, n) for n in range(1, MAX_CHECKS + 1))
    checks = min((_steps(checks, remaining, dims), checks) for checks in choices)[1]

    order = _mixed_within_checks(principal, checks)
    rotated = _TileSample(order.rotated(rows), order.rotated(columns), need, tile)
    steps = _steps(checks, {check: rotated.remaining(check) for check in checks}, dims)
    cost = (steps + rotated.score_cost) * n_tiles + rotation
    return order if cost < MAX_RELATIVE_COST * (dims / 4 + original.score_cost) * n_tiles else ORIGINAL


def _mixed_within_checks(order: DimensionOrder, checks: tuple[int, ...]) -> DimensionOrder:
    """The same subspaces between checks, each rotated at random.

    The largest value of a row sets its int8 scale, so values of similar size lose less.
    """
    if order.basis is None:
        return order
    basis, rng = order.basis.astype(np.float64), np.random.default_rng(0)
    for start, stop in itertools.pairwise((0, *checks, len(basis))):
        turn, _ = np.linalg.qr(rng.normal(size=(stop - start, stop - start)))
        basis[:, start:stop] = basis[:, start:stop] @ turn
    return DimensionOrder(np.ascontiguousarray(basis, np.float32), checks)


def _principal_basis(queries: UnitRows, gallery: UnitRows) -> Matrix:
    """Eigenvectors (D, D) of the second moments of a sample, the largest eigenvalue first."""
    products = [_products(v[:: max(1, len(v) // SAMPLE_ROWS)]) for v in (queries, gallery)]
    _, vectors = np.linalg.eigh(products[0] + products[1])
    return np.ascontiguousarray(vectors[:, ::-1], np.float32)


def _products(rows: UnitRows) -> Floats:
    exact = np.asarray(rows, np.float64)
    products: Floats = exact.T @ exact
    return products


def _sample_runs(vectors: UnitRows, length: int) -> Ints:
    """Indexes of runs of rows at even distances: neighbours in a tile are often of one person."""
    runs = min(SAMPLE_TILES, len(vectors) // length)
    starts = np.linspace(0, len(vectors) - length, runs).astype(np.int64)
    return (starts[:, None] + np.arange(length)[None]).ravel()


def _needed_cosines(
    queries: UnitRows, gallery: UnitRows, spec: QuerySpec, groups: Ints, strips: Ints, width: int
) -> Float32s:
    """The cosine from which a pair counts."""
    floor = _expected_floors(queries, gallery, spec, groups, strips, width)
    return floor - (spec.query_offset[groups][:, None] + spec.gallery_offset[strips][None]).astype(np.float32)


def _expected_floors(
    queries: UnitRows, gallery: UnitRows, spec: QuerySpec, groups: Ints, strips: Ints, width: int
) -> Float32s:
    """About the score from which the kernel looks closer, late in a comparison: one for all gallery rows of a strip."""
    floor = np.full((len(groups), len(strips)), spec.floor, np.float32)
    q, g = (queries, spec.query_offset), (gallery, spec.gallery_offset)
    if spec.top_k:
        floor = np.minimum(floor, _estimated_rank(q, groups, g, spec.top_k)[:, None])
    if spec.best_queries:
        least = _estimated_rank(g, strips, q, 1).reshape(-1, width).min(1)
        floor = np.minimum(floor, least.repeat(width)[None])
    return floor


def _estimated_rank(rows: tuple[UnitRows, Floats], which: Ints, others: tuple[UnitRows, Floats], rank: int) -> Float32s:
    """The score of the ``rank``-th best of ``others`` for some rows, estimated on a sample; each with its offsets."""
    n, step = len(others[0]), max(1, len(others[0]) // RANKED_ROWS)
    score = np.asarray(rows[0][which], np.float32) @ np.asarray(others[0][::step], np.float32).T
    score += (rows[1][which][:, None] + others[1][::step][None]).astype(np.float32)
    sampled = score.shape[1]
    within = min(sampled, max(1, round(rank * sampled / n)))
    best: Float32s = score.max(1) if within == 1 else np.partition(score, sampled - within, axis=1)[:, sampled - within]
    # The best of few lies below the same rank among all: by as much as in a normal distribution.
    mean, normal = score.mean(1), NormalDist()
    share = min(0.5, rank / n), min(0.5, within / sampled)
    deeper = np.float32(max(1.0, normal.inv_cdf(1 - share[0]) / max(1e-3, normal.inv_cdf(1 - share[1]))))
    floors: Float32s = mean + (best - mean) * deeper
    return floors


class _TileSample:
    """Sampled tiles in some basis: the cost of exact scores, and how many tiles remain after some dimensions."""

    def __init__(self, rows: UnitRows, columns: UnitRows, need: Float32s, tile: tuple[int, int]) -> None:
        self._rows, self._columns = np.asarray(rows, np.float32), np.asarray(columns, np.float32)
        self._height, self._width = tile
        error = QuantisedRows.of(self._rows).error[:, None] + QuantisedRows.of(self._columns).error[None]
        self._need = (need - error).astype(np.float32)
        hits = self._rows @ self._columns.T >= self._need
        self.score_cost = float(hits.mean()) * self._height * self._width * SCORE_COST

    def remaining(self, dims: int) -> float:
        """The share of tiles that a check after so many dimensions cannot skip."""
        rest_rows = np.linalg.norm(self._rows[:, dims:], axis=1)
        rest_columns = np.linalg.norm(self._columns[:, dims:], axis=1)
        upper = self._rows[:, :dims] @ self._columns[:, :dims].T + rest_rows[:, None] * rest_columns[None]
        tiles = (upper >= self._need).reshape(-1, self._height, self._need.shape[1] // self._width, self._width)
        return float(tiles.any((1, 3)).mean())


def _steps(checks: tuple[int, ...], remaining: dict[int, float], dims: int) -> float:
    """The steps of an average tile."""
    steps, share, done = 0.0, 1.0, 0
    for check in checks:
        steps += share * ((check - done) / 4 + CHECK_COST)
        share, done = remaining[check], check
    return steps + share * (dims - done) / 4
