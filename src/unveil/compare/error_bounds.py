"""What floating point can hide, bounded; and rows to int8 in NumPy, as the compiled kernel does for itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.types import Floats

Vectors = npt.NDArray[np.floating]
# Room for the float32 arithmetic below: 2^-24 of each element of a unit row, and of each of D sums.
GROWN, SLACK = np.float64(1.01), 5e-7
UNIT_ROUNDOFF = 2.0**-24  # of float32


def gamma(terms: int) -> float:
    """gamma_n = n u / (1 - n u): the relative error of a float32 sum of ``terms`` products in any order.

    Higham 2002, section 3.1 (doi:10.1137/1.9780898718027).
    """
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)


def below(values: Floats) -> npt.NDArray[np.float32]:
    """float32 values not above the float64 ones, so that rounding never hides a candidate."""
    narrow = values.astype(np.float32)
    return np.where(narrow > values, np.nextafter(narrow, np.float32(-np.inf)), narrow)


@dataclass(frozen=True)
class RoundingError:
    """Rows (N, D) as scale * values; |a.b - a'.b'| <= error_a norm_b + norm_a error_b (Cauchy-Schwarz)."""

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    error: Floats  # norm of the residual
    norm: Floats  # the larger of the norms of the row and of its rounded form

    @classmethod
    def of(cls, rows: Vectors, levels: int = 127) -> RoundingError:
        """Unit rows, rounded to whole numbers of at most ``levels``."""
        exact = np.asarray(rows, np.float32)
        scale = np.abs(exact).max(1) / np.float32(levels)
        values = np.rint(exact / scale[:, None])
        np.clip(values, -levels, levels, out=values)
        near = values * scale[:, None]
        norm = np.sqrt(np.maximum(np.einsum("nd,nd->n", exact, exact), np.einsum("nd,nd->n", near, near)))
        error = exact - near
        error = np.sqrt(np.einsum("nd,nd->n", error, error))
        return cls(values.astype(np.int8), scale, error * GROWN + SLACK, norm * GROWN + SLACK)
