"""The one definition of a comparison score, to the last bit.

A cosine is the float64 sum of the products of two stored float32 (or float16) unit vectors, added in 32 interleaved
lanes whose sums are then added in halves. Each product is exact in float64, so a fused multiply-add changes nothing,
and any SIMD unit can follow the same order. Every backend that re-scores its candidates in this way gives the same
bits, so ties are ties everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from unveil.types import Floats, Ints

# Rows (N, D) of norm 1, float16 or float32.
UnitRows = npt.NDArray[np.floating]
Float32s = npt.NDArray[np.float32]
# Exact cosines (M,) of pairs of rows: queries (Q, D), gallery (G, D), indexes (M,) into each.
PairScorer = Callable[[UnitRows, UnitRows, Ints, Ints], Floats]

LANES = 32
CHUNK = 256  # pairs gathered at once: small enough for the cache


def exact_cosine(queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
    """Cosines (M,) float64 of the pairs (q[m], g[m]) of unit rows (Q, D) and (G, D)."""
    out = np.empty(len(q), np.float64)
    for start in range(0, len(q), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = _sum_of_products(np.asarray(queries[q[part]]), np.asarray(gallery[g[part]]))
    return out


def _sum_of_products(a: UnitRows, b: UnitRows) -> Floats:
    n, d = a.shape
    products = np.zeros((n, -(-d // LANES) * LANES), np.float64)
    np.multiply(a, b, out=products[:, :d], dtype=np.float64)
    # NumPy adds over an outer axis in order, row after row.
    lanes: Floats = np.add.reduce(products.reshape(n, -1, LANES), axis=1)
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
