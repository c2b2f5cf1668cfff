"""The lowest value of a function of a few parameters that has no derivative."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from unveil.types import Floats


def lowest(loss: Callable[[Floats], float], n_parameters: int, *, step: float, tolerance: float) -> Floats:
    """The parameters (P,) near zero at which a function is lowest.

    The search begins with ``step`` in each parameter and ends where they differ by ``tolerance``. Source: Nelder and
    Mead 1965, doi:10.1093/comjnl/7.4.308.
    """
    start = np.vstack([np.zeros(n_parameters), step * np.eye(n_parameters)])
    options = {"initial_simplex": start, "xatol": tolerance, "fatol": 1e-7}
    return np.asarray(scipy.optimize.minimize(loss, start[0], method="Nelder-Mead", options=options).x, np.float64)
