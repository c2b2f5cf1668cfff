"""One exact test of "no leak at all"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from unveil.types import Floats, Ints


@dataclass(frozen=True)
class GlobalTest:
    """Whether training people fill the top ranks of all people more than chance allows."""

    p_value: float
    top: int  # the number of top ranks at which the evidence was strongest
    training_in_top: int
    n_training: int
    n_control: int
    smallest_p: float = 1.0  # the smallest p that sets of this size can give
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
    is_training = _by_rank(training, control)
    looks = _cutoffs(n_t + n_c)
    p, best, filled = _strongest(np.cumsum(is_training), n_t, n_c)
    most = stats.hypergeom.sf(np.minimum(looks, n_t) - 1, n_t + n_c, n_t, looks)
    return GlobalTest(p, best, filled, n_t, n_c, float(min(1.0, most.min() * len(looks))))


def min_exposed(training: Floats, control: Floats, level: float) -> int:
    """A lower limit of the number of exposed training people, right with probability 1 - ``level``.

    If m people were exposed, the others would be exchangeable with control people, and taking out the m highest leaves
    ranks that are lower still: so m is ruled out when the global test rejects without them. The limit is the smallest m
    that is not ruled out. An inversion of an exact test, in the manner of Meinshausen and Rice 2006
    (doi:10.1214/009053605000000741); assumes nothing but exchangeability of those not exposed.
    """
    n_t, n_c = len(training), len(control)
    if not n_t or not n_c:
        return 0
    # Without the m highest training people, the first K of the others are the first K + m of all, less those m.
    filled = np.concatenate([[0], np.cumsum(_by_rank(training, control))])
    look = 0
    for m in range(n_t):
        looks = _cutoffs(n_t + n_c - m)
        # The look that ruled out the last m mostly rules out this one too, and is asked first.
        for i in (look, *range(len(looks))):
            if i < len(looks):
                k = looks[i]
                p = stats.hypergeom.sf(max(0, filled[k + m] - m) - 1, n_t + n_c - m, n_t - m, k)
                if p * len(looks) <= level:
                    look = i
                    break
        else:
            return m
    return n_t


def _by_rank(training: Floats, control: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether each person is a training person, from the highest exposure down; control people win ties."""
    score = np.concatenate([control, training])
    is_training = np.concatenate([np.zeros(len(control), np.bool_), np.ones(len(training), np.bool_)])
    # The sort is stable and controls come first, so they stand before training people of the same score.
    return is_training[np.argsort(-score, kind="stable")]


def _cutoffs(n_people: int) -> Ints:
    return np.asarray(2 ** np.arange(int(np.log2(max(1, n_people // 4))) + 1), np.int64)


def _strongest(filled: Ints, n_t: int, n_c: int) -> tuple[float, int, int]:
    """p over all looks, the look with the strongest evidence, and the training people at or above it."""
    if n_t == 0:
        return 1.0, 0, 0
    looks = _cutoffs(n_t + n_c)
    p = stats.hypergeom.sf(filled[looks - 1] - 1, n_t + n_c, n_t, looks)
    best = int(np.argmin(p))
    return float(min(1.0, p[best] * len(looks))), int(looks[best]), int(filled[looks[best] - 1])
