"""One exact test of "no leak at all"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from unveil.types import Floats


@dataclass(frozen=True)
class GlobalTest:
    """Whether training people fill the top ranks of all people more than chance allows."""

    p_value: float
    top: int  # the number of top ranks at which the evidence was strongest
    training_in_top: int
    n_training: int
    n_control: int
    method: str = "hypergeometric at the top 1, 2, 4, ... ranks, Bonferroni"


def global_test(training: Floats, control: Floats) -> GlobalTest:
    """Tests that training and control exposures are exchangeable, looking only at the highest ranks of both together.

    Under the null the training people among the top K of N are hypergeometric. K runs over the powers of two up to a
    quarter of N, fixed beforehand, and the smallest p is multiplied by their number. Control people win ties, so the
    test is conservative. Needs no model of the tail, and cannot see fewer than about log2(number of K / level) leaks.
    """
    n_t, n_c = len(training), len(control)
    if not n_t or not n_c:
        return GlobalTest(1.0, 0, 0, n_t, n_c)
    score = np.concatenate([control, training])
    is_training = np.concatenate([np.zeros(n_c, bool), np.ones(n_t, bool)])
    # The sort is stable and controls come first, so they stand before training people of the same score.
    filled = np.cumsum(is_training[np.argsort(-score, kind="stable")])
    looks = 2 ** np.arange(int(np.log2(max(1, (n_t + n_c) // 4))) + 1)
    p = stats.hypergeom.sf(filled[looks - 1] - 1, n_t + n_c, n_t, looks)
    best = int(np.argmin(p))
    return GlobalTest(float(min(1.0, p[best] * len(looks))), int(looks[best]), int(filled[looks[best] - 1]), n_t, n_c)
