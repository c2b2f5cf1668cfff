"""p-values by counting, and their adjustment for many people."""

from __future__ import annotations

import numpy as np

from unveil.types import Floats


def conformal_p(scores: Floats, controls: Floats) -> Floats:
    """p (N,) of scores (N,) against control scores (C,): (1 + #{c >= score}) / (C + 1).

    Valid when a score and the controls are exchangeable under the null (Vovk et al. 2005, doi:10.1007/b106715).
    """
    ascending = np.sort(controls)
    at_least = len(ascending) - np.searchsorted(ascending, scores, side="left")
    return (1 + at_least) / (len(ascending) + 1)


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values (N,): listing those at most q holds the false discovery rate at q.

    Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x. Valid for conformal p-values that share their
    controls, which are positively dependent (Bates et al. 2023, doi:10.1214/22-AOS2244).
    """
    n = len(p)
    if n == 0:
        return np.zeros(0)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(scaled[::-1])[::-1])
    return adjusted


def min_significant(n_people: int, n_controls: int, q: float) -> int:
    """How many people must stand above every control before counting can list any at q: the resolution of the set."""
    return int(np.ceil(n_people / (q * (n_controls + 1)) - 1e-9))
