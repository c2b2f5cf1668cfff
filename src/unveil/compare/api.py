"""`compare_all`: the contract of every comparison engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from unveil.compare.checkpoint import Checkpoint
from unveil.compare.reference import Settings, run
from unveil.errors import SettingError, VectorError
from unveil.types import Floats, Matches

Vectors = npt.NDArray[np.floating]

ENGINES = ("auto", "reference")
# Stored as float16 or float32, a unit vector's norm strays at most this far from 1.
NORM_TOLERANCE = 5e-3
CHECK_ROWS = 8192


def compare_all(
    queries: Vectors,
    gallery: Vectors,
    *,
    top_k: int = 10,
    top_pairs: int = 0,
    threshold: float | None = None,
    query_offset: Floats | None = None,
    gallery_offset: Floats | None = None,
    engine: str = "auto",
    max_pairs: int = 50_000_000,
    progress: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Matches:
    """Every query (Q, D) against every gallery row (G, D), exactly, in both directions, in bounded memory.

    Rows are unit vectors, float32 or float16, memory-mapped if need be. A pair's score is its cosine plus
    ``query_offset[i]`` plus ``gallery_offset[j]``. Kept are each query's ``top_k`` gallery rows, each gallery row's
    best query, the ``top_pairs`` best pairs of all and, with a ``threshold``, all pairs that score at least that. Ties
    go to the lower row. ``progress`` is called with the number of pairs done since its last call.

    Raises VectorError for rows that are not finite unit vectors, and SettingError for a threshold that more than
    ``max_pairs`` pairs reach.
    """
    if engine not in ENGINES:
        raise SettingError(f"engine {engine!r} is not known; use one of {', '.join(ENGINES)}")
    if top_k < 1 or top_pairs < 0:
        raise SettingError(f"top_k should be at least 1 and top_pairs at least 0, got {top_k} and {top_pairs}")
    if threshold is not None and not np.isfinite(threshold):
        raise SettingError(f"threshold should be a finite number, got {threshold}")
    check_vectors(queries, "queries")
    check_vectors(gallery, "gallery")
    if queries.shape[1] != gallery.shape[1]:
        raise VectorError(
            f"queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}: embed both with one model"
        )
    settings = Settings(
        top_k=min(top_k, len(gallery)),
        top_pairs=min(top_pairs, len(queries) * len(gallery)),
        threshold=threshold,
        query_offset=_offset(query_offset, len(queries), "query_offset"),
        gallery_offset=_offset(gallery_offset, len(gallery), "gallery_offset"),
        max_pairs=max_pairs,
    )
    return run(queries, gallery, settings, progress or (lambda _: None), checkpoint)


def check_vectors(vectors: Vectors, name: str) -> None:
    """VectorError unless ``vectors`` is (N, D) float16 or float32 with finite rows of norm 1."""
    if vectors.ndim != 2 or vectors.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
        raise VectorError(f"{name} should be (N, D) float32 or float16, got {vectors.shape} {vectors.dtype}")
    for start in range(0, len(vectors), CHECK_ROWS):
        block = np.asarray(vectors[start : start + CHECK_ROWS], np.float64)
        norms = np.sqrt(np.einsum("nd,nd->n", block, block))
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
        if len(wrong):
            norm = norms[wrong[0]]
            what = "is zero" if norm == 0 else f"has norm {norm:.4g}" if np.isfinite(norm) else "is not finite"
            raise VectorError(f"{name} row {start + wrong[0]} {what}; rows should be finite and of norm 1")


def _offset(offset: Floats | None, n: int, name: str) -> Floats:
    if offset is None:
        return np.zeros(n, np.float64)
    values = np.asarray(offset, np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise VectorError(f"{name} should be ({n},) finite numbers, got {values.shape}")
    return values
