"""`compare_all`, which every part of an audit that compares vectors calls."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.compare.backends import Backend, open_backend
from unveil.compare.error_bounds import gamma
from unveil.compare.exact import UnitRows
from unveil.compare.moments import mean_and_variance
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.engine import map_ordered
from unveil.errors import SettingError, VectorError
from unveil.io.checkpoint import Checkpoint
from unveil.io.host import cores
from unveil.types import Floats, Matches

# The norm of a unit vector stored as float16 or float32 differs from 1 by at most this much.
NORM_TOLERANCE = 5e-3
CHECK_ROWS = 8192
# An int8 product of more dimensions could overflow 32 bits.
MAX_DIMS = 65536
NO_TAIL = np.zeros(0)


def compare_all(
    queries: UnitRows,
    gallery: UnitRows,
    *,
    top_k: int = 10,
    best_queries: bool = True,
    top_pairs: int = 0,
    threshold: float | None = None,
    tail: Sequence[float] | Floats = (),
    query_offset: Floats | None = None,
    gallery_offset: Floats | None = None,
    backend: str | Backend = "auto",
    threads: int = 0,
    max_pairs: int = 50_000_000,
    moments: bool = True,
    progress: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Matches:
    """Compares every query (Q, D) with every gallery row (G, D), exactly and in bounded memory.

    Rows are unit vectors, float32 or float16, and may be memory-mapped. The score of a pair is its cosine plus
    ``query_offset[i]`` plus ``gallery_offset[j]``. Ties go to the lower row. The result holds:

    - each query's ``top_k`` gallery rows,
    - each gallery row's best query, unless ``best_queries`` is false,
    - the ``top_pairs`` best pairs of all,
    - with a ``threshold``, all pairs that score at least that,
    - for each score in ``tail``, the number of pairs that reach it,
    - mean and variance of all cosines, NaN without ``moments``.

    It is the same, bit for bit, for every backend, number of ``threads`` (0: one per core), resumption and split.
    ``progress`` receives the number of pairs done since its last call.

    Raises VectorError for rows that are not finite unit vectors. Raises SettingError for invalid arguments, a backend
    that cannot run here, and a threshold that more than ``max_pairs`` pairs reach.
    """
    levels = np.array(tail, np.float64)
    if threshold is not None and not np.isfinite(threshold):
        raise SettingError(f"threshold should be a finite number, got {threshold}")
    if levels.ndim != 1 or not np.isfinite(levels).all() or (np.diff(levels) <= 0).any():
        raise SettingError(f"tail should be finite scores in ascending order, got {levels}")
    ranking = Ranking(top_k, best_queries, top_pairs, query_offset, gallery_offset)
    (matches,) = _compare(
        *(queries, gallery, [ranking], backend, threads, progress, checkpoint),
        threshold=threshold,
        tail=levels,
        max_pairs=max_pairs,
        moments=moments,
    )
    return matches


@dataclass(frozen=True)
class Ranking:
    """A score, and how many of the best pairs by it are wanted; fields as the arguments of `compare_all`."""

    top_k: int = 10
    best_queries: bool = True
    top_pairs: int = 0
    query_offset: Floats | None = None
    gallery_offset: Floats | None = None


def compare_rankings(
    queries: UnitRows,
    gallery: UnitRows,
    rankings: Sequence[Ranking],
    *,
    backend: str | Backend = "auto",
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Matches, ...]:
    """Compares every query (Q, D) with every gallery row (G, D) once, and ranks the pairs by one score or by two.

    Returns what `compare_all` returns for each ranking, to the last bit, without moments. The compiled kernel computes
    each product once; the other backends need a pass for each ranking. Raises the errors of `compare_all`.
    """
    return _compare(queries, gallery, rankings, backend, threads, progress, checkpoint)


def _compare(
    queries: UnitRows,
    gallery: UnitRows,
    rankings: Sequence[Ranking],
    backend: str | Backend,
    threads: int,
    progress: Callable[[int], None] | None,
    checkpoint: Checkpoint | None,
    *,
    threshold: float | None = None,
    tail: Floats = NO_TAIL,
    max_pairs: int = 0,
    moments: bool = False,
) -> tuple[Matches, ...]:
    """The matches by each ranking; ``threshold`` and ``tail`` are of the first."""
    for ranking in rankings:
        if ranking.top_k < 0 or ranking.top_pairs < 0 or threads < 0:
            raise SettingError(
                f"top_k, top_pairs and threads should be 0 or more, got {ranking.top_k}, {ranking.top_pairs}, {threads}"
            )
    opened = open_backend(backend, threads) if isinstance(backend, str) else backend
    check_vectors(queries, "queries")
    check_vectors(gallery, "gallery")
    if queries.shape[1] != gallery.shape[1]:
        raise VectorError(
            f"queries and gallery should have the same dimensions, got {queries.shape[1]} and {gallery.shape[1]}; "
            "embed both with one model"
        )
    specs = [
        QuerySpec(
            top_k=min(ranking.top_k, len(gallery)),
            best_queries=ranking.best_queries,
            top_pairs=min(ranking.top_pairs, len(queries) * len(gallery)),
            threshold=None if i else threshold,
            tail=NO_TAIL if i else tail,
            query_offset=_offset(ranking.query_offset, len(queries), "query_offset"),
            gallery_offset=_offset(ranking.gallery_offset, len(gallery), "gallery_offset"),
            max_pairs=max_pairs,
        )
        for i, ranking in enumerate(rankings)
    ]
    matches = [TopMatches(len(queries), len(gallery), spec) for spec in specs]
    if len(queries) and len(gallery):
        opened.run(queries, gallery, matches, progress or (lambda _: None), checkpoint or Checkpoint(None))
    mean, variance = mean_and_variance(queries, gallery, threads or cores()) if moments else (math.nan, math.nan)
    cosines = functools.partial(opened.cosines, queries, gallery)
    return tuple(ranked.result(cosines, mean, variance) for ranked in matches)


def check_vectors(vectors: UnitRows, name: str) -> None:
    """Raises VectorError unless ``vectors`` is (N, D) float16 or float32 with finite rows of norm 1."""
    if not isinstance(vectors, np.ndarray):
        raise VectorError(
            f"{name} should be a NumPy array (N, D) of float32 or float16, got {type(vectors).__name__}; convert it "
            "with numpy.asarray(..., numpy.float32)"
        )
    if vectors.ndim != 2 or vectors.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
        raise VectorError(f"{name} should be (N, D) float32 or float16, got {vectors.shape} {vectors.dtype}")
    if vectors.shape[1] > MAX_DIMS:
        raise VectorError(f"{name} should have at most {MAX_DIMS} dimensions, got {vectors.shape[1]}")

    # |norm - 1| is at most |norm^2 - 1|, which single precision gives with a relative error of gamma.
    sure = NORM_TOLERANCE - 1.1 * gamma(vectors.shape[1])

    def first_wrong_row(start: int) -> tuple[int, float] | None:
        block = np.asarray(vectors[start : start + CHECK_ROWS], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            doubtful = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", block, block) - 1) <= sure))
        exact = block[doubtful].astype(np.float64)
        norms = np.sqrt(np.einsum("nd,nd->n", exact, exact))
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
        return (start + int(doubtful[wrong[0]]), float(norms[wrong[0]])) if len(wrong) else None

    for found in map_ordered(first_wrong_row, range(0, len(vectors), CHECK_ROWS), cores()):
        if found is not None:
            row, norm = found
            what = "is zero" if norm == 0 else f"has norm {norm:.4g}" if np.isfinite(norm) else "is not finite"
            raise VectorError(f"{name} should have finite rows of norm 1, and row {row} {what}")


def _offset(offset: Floats | None, n: int, name: str) -> Floats:
    if offset is None:
        return np.zeros(n, np.float64)
    values = np.asarray(offset, np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise VectorError(f"{name} should be ({n},) finite numbers, got {values.shape}")
    return np.ascontiguousarray(values)
