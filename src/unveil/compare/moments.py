"""Mean and variance of the cosines of all pairs, without computing a cosine."""

from __future__ import annotations

import numpy as np

from unveil.compare.backend_native import moments_by_kernel
from unveil.compare.exact import UnitRows
from unveil.engine import map_ordered
from unveil.types import Floats

ROWS = 4096


def mean_and_variance(queries: UnitRows, gallery: UnitRows, threads: int = 1) -> tuple[float, float]:
    """Mean and variance of the cosines of all pairs, in closed form: mu_x . mu_y and <X'X, Y'Y> / (Q G) - mean^2.

    Both are rounded to ten digits: without the compiled kernel, the last ones depend on the BLAS library.
    """
    if not len(queries) or not len(gallery):
        return 0.0, 0.0
    (mean_q, gram_q), (mean_g, gram_g) = _mean_and_gram(queries, threads), _mean_and_gram(gallery, threads)
    mean = float(mean_q @ mean_g)
    variance = max(0.0, float((gram_q * gram_g).sum()) - mean**2)
    return float(f"{mean:.10g}"), float(f"{variance:.10g}")


def _mean_and_gram(vectors: UnitRows, threads: int) -> tuple[Floats, Floats]:
    n, d = vectors.shape
    total, gram = np.zeros(d), np.zeros((d, d))
    blocks = (vectors[start : start + ROWS] for start in range(0, n, ROWS))
    # In the order of the blocks, so that the sums do not depend on the threads.
    for block_total, block_gram in map_ordered(_sums, blocks, threads):
        total += block_total
        gram += block_gram
    return total / n, gram / n


def _sums(rows: UnitRows) -> tuple[Floats, Floats]:
    return moments_by_kernel(rows) or sums_by_numpy(rows)


def sums_by_numpy(rows: UnitRows) -> tuple[Floats, Floats]:
    """As `moments_by_kernel`, which it agrees with but for the order of sums."""
    exact = np.asarray(rows, np.float64)
    return exact.sum(0), exact.T @ exact
