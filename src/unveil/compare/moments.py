"""Mean and variance of the cosines of all pairs, without computing a cosine."""

from __future__ import annotations

import numpy as np

from unveil.compare.exact import UnitRows
from unveil.types import Floats

ROWS = 4096


def mean_and_variance(queries: UnitRows, gallery: UnitRows) -> tuple[float, float]:
    """Mean and variance of the cosines of all pairs, in closed form: mu_x . mu_y and <X'X, Y'Y> / (Q G) - mean^2.

    Both are rounded to ten digits: the last ones depend on the BLAS library.
    """
    if not len(queries) or not len(gallery):
        return 0.0, 0.0
    (mean_q, gram_q), (mean_g, gram_g) = _mean_and_gram(queries), _mean_and_gram(gallery)
    mean = float(mean_q @ mean_g)
    variance = max(0.0, float((gram_q * gram_g).sum()) - mean**2)
    return float(f"{mean:.10g}"), float(f"{variance:.10g}")


def _mean_and_gram(vectors: UnitRows) -> tuple[Floats, Floats]:
    n, d = vectors.shape
    total, gram = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, ROWS):
        block = np.asarray(vectors[start : start + ROWS], np.float64)
        total += block.sum(0)
        gram += block.T @ block
    return total / n, gram / n
