"""The one definition of a comparison score, to the last bit.

A cosine is the float64 sum of the products of two stored float32 (or float16) unit vectors, added up in 32 interleaved
lanes that are then added in halves. Each product is exact in float64, so a fused multiply-add changes nothing, and any
SIMD unit can follow the same order: every backend that re-scores its candidates this way gives the same bits, and
ties are ties everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unveil.types import Floats, Ints

LANES = 32
CHUNK = 256  # pairs gathered at once: what fits the cache


def exact_cosine(queries: npt.NDArray[np.floating], gallery: npt.NDArray[np.floating], q: Ints, g: Ints) -> Floats:
    """Cosines (M,) float64 of the pairs (q[m], g[m]) of unit rows (Q, D) and (G, D)."""
    out = np.empty(len(q), np.float64)
    for start in range(0, len(q), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = _lanes(np.asarray(queries[q[part]]), np.asarray(gallery[g[part]]))
    return out


def _lanes(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Floats:
    n, d = a.shape
    products = np.zeros((n, -(-d // LANES) * LANES), np.float64)
    np.multiply(a, b, out=products[:, :d], dtype=np.float64)
    # A sum over an outer axis is added in order, row after row.
    lanes: Floats = np.add.reduce(products.reshape(n, -1, LANES), axis=1)
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
