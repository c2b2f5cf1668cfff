"""The one definition of a comparison score, to the last bit.

A cosine is the float64 sum of the products of two stored float32 (or float16) unit vectors, added up in eight
interleaved lanes that are then added in pairs. Each product is exact in float64, so a fused multiply-add changes
nothing, and any SIMD unit can follow the same order: every engine that re-scores its candidates this way gives the
same bits, and ties are ties everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unveil.types import Floats, Ints

LANES = 8
CHUNK = 8192  # pairs gathered at once


def exact_cosine(queries: npt.NDArray[np.floating], gallery: npt.NDArray[np.floating], q: Ints, g: Ints) -> Floats:
    """Cosines (M,) float64 of the pairs (q[m], g[m]) of unit rows (Q, D) and (G, D)."""
    out = np.empty(len(q), np.float64)
    for start in range(0, len(q), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = _lanes(np.asarray(queries[q[part]]), np.asarray(gallery[g[part]]))
    return out


def _lanes(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Floats:
    n, d = a.shape
    lanes = np.zeros((n, LANES), np.float64)
    for k in range(0, d, LANES):
        step = a[:, k : k + LANES].astype(np.float64) * b[:, k : k + LANES]
        lanes[:, : step.shape[1]] += step
    half = lanes[:, :4] + lanes[:, 4:]
    quarter = half[:, :2] + half[:, 2:]
    total: Floats = quarter[:, 0] + quarter[:, 1]
    return total
