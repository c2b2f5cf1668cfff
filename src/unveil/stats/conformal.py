"""Conformal p-values."""

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


def min_significant(n_people: int, n_controls: int, fdr: float) -> int:
    """The number of people who must exceed every control before conformal q-values reach ``fdr``."""
    return int(np.ceil(n_people / (fdr * (n_controls + 1)) - 1e-9))
