"""Proven bounds on floating-point error, and quantisation of rows to int8 in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.compare.exact import Float32s, UnitRows
from unveil.types import Floats

# Covers the float32 arithmetic below: 2^-24 of each element of a unit row, and of each of D sums.
NORM_FACTOR, NORM_SLACK = np.float64(1.01), 5e-7
UNIT_ROUNDOFF = 2.0**-24  # of float32


def gamma(terms: int) -> float:
    """gamma_n = n u / (1 - n u): the relative error of a float32 sum of ``terms`` products in any order.

    Higham 2002, section 3.1 (doi:10.1137/1.9780898718027).
    """
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)


def rounded_down(values: Floats) -> Float32s:
    """float32 values that are not above the float64 ones, so that rounding never hides a candidate."""
    narrow = values.astype(np.float32)
    return np.where(narrow > values, np.nextafter(narrow, np.float32(-np.inf)), narrow)


@dataclass(frozen=True)
class QuantisedRows:
    """Rows (N, D) as scale * values, with |a.b - a'.b'| <= error_a norm_b + norm_a error_b (Cauchy-Schwarz)."""

    values: npt.NDArray[np.int8]
    scale: Float32s
    error: Floats  # (N,) norm of the residual
    norm: Floats  # (N,) the larger of the norms of the row and of its quantised form

    @classmethod
    def of(cls, rows: UnitRows, levels: int = 127) -> QuantisedRows:
        """Unit rows, quantised to integers of absolute value at most ``levels``."""
        exact = np.asarray(rows, np.float32)
        scale = np.abs(exact).max(1) / np.float32(levels)
        values = np.rint(exact / scale[:, None])
        np.clip(values, -levels, levels, out=values)
        near = values * scale[:, None]
        norm = np.sqrt(np.maximum(np.einsum("nd,nd->n", exact, exact), np.einsum("nd,nd->n", near, near)))
        error = exact - near
        error = np.sqrt(np.einsum("nd,nd->n", error, error))
        return cls(values.astype(np.int8), scale, error * NORM_FACTOR + NORM_SLACK, norm * NORM_FACTOR + NORM_SLACK)
