"""In which order the kernel takes the dimensions, and where it looks whether a tile can still matter.

Turned into the basis of their principal components, vectors hold most of their length in the first dimensions. After
some of them, a pair's score is at most its partial sum plus |a_rest| |b_rest|; when that falls short for every pair of
a tile, the rest need not be multiplied. Turning is orthogonal: it changes no score beyond a proven error, and every
pair that is kept is scored from the vectors as they were.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from unveil.compare.error_bounds import RoundingError, gamma
from unveil.compare.topk import QuerySpec
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]
Matrix = npt.NDArray[np.float32]

SAMPLE_ROWS = 4096
SAMPLE_TILES = 32  # groups of queries and strips of the gallery in the sample
GRAIN = 32  # dimensions between places where a look may be
MAX_CHECKS = 3
# Measured on Zen 4 in steps of a tile (four dimensions of all its pairs): a look, an exact score, turning a row.
LOOK_STEPS, SCORE_STEPS, TURN_STEPS = 4.0, 45.0, 700.0
WORTH_IT = 0.95


@dataclass(frozen=True)
class DimensionOrder:
    """A basis, None for the dimensions as they are, and the numbers of dimensions after which to look."""

    basis: Matrix | None = field(default=None, repr=False)
    looks: tuple[int, ...] = ()

    @property
    def look_steps(self) -> tuple[int, ...]:
        return tuple(look // 4 for look in self.looks)

    @functools.cached_property
    def error(self) -> float:
        """The norm of what is lost when a unit row is turned in float32: gamma_D times the norm of |basis|.

        Higham 2002, section 3.5 (doi:10.1137/1.9780898718027).
        """
        if self.basis is None:
            return 0.0
        size = np.abs(self.basis.astype(np.float64))
        norm = np.sqrt(size.sum(0).max() * size.sum(1).max())  # at least the spectral norm
        return float(1.01 * gamma(len(self.basis)) * norm)

    @functools.cached_property
    def defect(self) -> float:
        """How far the stored basis changes a score of unit rows because it is not quite orthogonal."""
        if self.basis is None:
            return 0.0
        exact = self.basis.astype(np.float64)
        return float(1.02 * np.linalg.norm(exact @ exact.T - np.eye(len(exact))))

    def turned(self, rows: Vectors) -> Vectors:
        """Rows (N, D) in the basis, float32; as they are when there is none."""
        return rows if self.basis is None else np.asarray(rows, np.float32) @ self.basis


PLAIN = DimensionOrder()


def choose_dimension_order(
    queries: Vectors, gallery: Vectors, wanted: QuerySpec, tile: tuple[int, int]
) -> DimensionOrder:
    """The order that a sample of the tiles says is cheapest; only time depends on it."""
    dims, (height, width) = queries.shape[1], tile
    n_tiles = len(queries) * len(gallery) / (height * width)
    turning = TURN_STEPS * (dims / 512) ** 2 * (len(queries) + len(gallery))
    if dims < 2 * GRAIN or 0.5 * n_tiles * dims / 4 < turning:
        return PLAIN
    principal = DimensionOrder(_principal_basis(queries, gallery))
    groups, strips = _contiguous(queries, height), _contiguous(gallery, width)
    rows, columns = queries[groups], gallery[strips]
    floor = _floors(queries, gallery, wanted, groups, strips)
    need = floor - (wanted.query_offset[groups][:, None] + wanted.gallery_offset[strips][None]).astype(np.float32)

    plain = _Costs(rows, columns, need, tile)
    turned = _Costs(principal.turned(rows), principal.turned(columns), need, tile)
    places = range(GRAIN, dims, GRAIN)
    alive = {place: turned.alive(place) for place in places}
    choices = itertools.chain.from_iterable(itertools.combinations(places, n) for n in range(1, MAX_CHECKS + 1))
    looks = min((_steps(looks, alive, dims), looks) for looks in choices)[1]

    order = _evened(principal, looks)
    turned = _Costs(order.turned(rows), order.turned(columns), need, tile)
    steps = _steps(looks, {look: turned.alive(look) for look in looks}, dims)
    cost = (steps + turned.scoring) * n_tiles + turning
    return order if cost < WORTH_IT * (dims / 4 + plain.scoring) * n_tiles else PLAIN


def _evened(order: DimensionOrder, looks: tuple[int, ...]) -> DimensionOrder:
    """The same subspaces between looks, turned at random within each: a row's largest value sets its int8 scale."""
    if order.basis is None:
        return order
    basis, rng = order.basis.astype(np.float64), np.random.default_rng(0)
    for start, stop in itertools.pairwise((0, *looks, len(basis))):
        turn, _ = np.linalg.qr(rng.normal(size=(stop - start, stop - start)))
        basis[:, start:stop] = basis[:, start:stop] @ turn
    return DimensionOrder(np.ascontiguousarray(basis, np.float32), looks)


def _principal_basis(queries: Vectors, gallery: Vectors) -> Matrix:
    """Eigenvectors (D, D) of the second moments of a sample, the largest first."""
    sample = np.concatenate([np.asarray(v[_spread(len(v))], np.float64) for v in (queries, gallery)])
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(vectors[:, ::-1], np.float32)


def _spread(n: int) -> slice:
    return slice(0, n, max(1, n // SAMPLE_ROWS))


def _contiguous(vectors: Vectors, run: int) -> Ints:
    """Indexes of runs of rows, spread over all: neighbours in a tile are often of one person."""
    runs = min(SAMPLE_TILES, len(vectors) // run)
    starts = np.linspace(0, len(vectors) - run, runs).astype(np.int64)
    return (starts[:, None] + np.arange(run)[None]).ravel()


def _floors(
    queries: Vectors,
    gallery: Vectors,
    wanted: QuerySpec,
    groups: Ints,
    strips: Ints,
) -> npt.NDArray[np.float32]:
    """About what a pair must score to matter, once most others were seen; rather too low."""
    floor = np.full((len(groups), len(strips)), wanted.everywhere, np.float32)
    q, g = (queries, wanted.query_offset), (gallery, wanted.gallery_offset)
    if wanted.top_k:
        floor = np.minimum(floor, _typical_rank(q, groups, g, wanted.top_k)[:, None])
    if wanted.best_queries:
        floor = np.minimum(floor, _typical_rank(g, strips, q, 1)[None])
    return floor


def _typical_rank(
    rows: tuple[Vectors, Floats], which: Ints, others: tuple[Vectors, Floats], rank: int
) -> npt.NDArray[np.float32]:
    """The score of some rows' ``rank``-th best among all others, judged by a sample of them; each with its offsets."""
    n, sample = len(others[0]), _spread(len(others[0]))
    score = np.asarray(rows[0][which], np.float32) @ np.asarray(others[0][sample], np.float32).T
    score += (rows[1][which][:, None] + others[1][sample][None]).astype(np.float32)
    seen = score.shape[1]
    within = min(seen, max(1, round(rank * seen / n)))
    return np.partition(score, seen - within, axis=1)[:, seen - within]


class _Costs:
    """What a sample of tiles says about rows and columns in some basis."""

    def __init__(self, rows: Vectors, columns: Vectors, need: npt.NDArray[np.float32], tile: tuple[int, int]) -> None:
        self._rows, self._columns = np.asarray(rows, np.float32), np.asarray(columns, np.float32)
        self._height, self._width = tile
        error = RoundingError.of(self._rows).error[:, None] + RoundingError.of(self._columns).error[None]
        self._need = (need - error).astype(np.float32)
        hits = self._rows @ self._columns.T >= self._need
        self.scoring = float(hits.mean()) * self._height * self._width * SCORE_STEPS

    def alive(self, dims: int) -> float:
        """The share of tiles that must go on after so many dimensions."""
        rest_rows = np.linalg.norm(self._rows[:, dims:], axis=1)
        rest_columns = np.linalg.norm(self._columns[:, dims:], axis=1)
        upper = self._rows[:, :dims] @ self._columns[:, :dims].T + rest_rows[:, None] * rest_columns[None]
        tiles = (upper >= self._need).reshape(-1, self._height, self._need.shape[1] // self._width, self._width)
        return float(tiles.any((1, 3)).mean())


def _steps(looks: tuple[int, ...], alive: dict[int, float], dims: int) -> float:
    """Steps of an average tile."""
    steps, share, done = 0.0, 1.0, 0
    for look in looks:
        steps += share * ((look - done) / 4 + LOOK_STEPS)
        share, done = alive[look], look
    return steps + share * (dims - done) / 4
