"""The global test: whether training people are enriched among the most exposed people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy

from unveil.types import Floats, Ints, Probability

# The name of the score over all channels.
ALL_CHANNELS = "all channels"


@dataclass(frozen=True)
class GlobalTest:
    """Test of whether training people take more of the top ranks than chance allows."""

    p_value: Probability
    """Probability of ranks like these if nothing leaked: the smallest p-value by any score, times their number."""
    top: int
    """Number of top ranks with the strongest evidence."""
    training_in_top: int
    """Number of training people among them."""
    n_training: int
    """Number of training people."""
    n_control: int
    """Number of control people."""
    smallest_p: Probability = 1.0
    """Smallest p-value that this number of people can give."""
    method: str = "hypergeometric at the top 1, 2, 4, ... ranks, Bonferroni over them and over the scores"
    """How the p-value is made."""
    score: str = ALL_CHANNELS
    """Name of the score with the strongest evidence, of which the ranks are."""
    n_scores: int = 1
    """Number of scores that were tested: that over all channels and, with several channels, that of each alone."""


def global_test(training: Floats, control: Floats) -> GlobalTest:
    """Tests that the exposures of training (T,) and control people (C,) are exchangeable, by the highest ranks of all.

    Under the null the number of training people among the top K of N is hypergeometric. K is every power of two up to a
    quarter of N, fixed in advance, and the smallest p is multiplied by their number (Bonferroni). Control people win
    ties, so the test is conservative. It needs no model of the tail. It cannot find fewer than about
    log2(number of K / level) leaks.
    """
    n_t, n_c = len(training), len(control)
    if not n_t or not n_c:
        return GlobalTest(1.0, 0, 0, n_t, n_c)
    is_training = _by_rank(training, control)
    cutoffs = _cutoffs(n_t + n_c)
    p, best, filled = _strongest(np.cumsum(is_training), n_t, n_c)
    best_case = scipy.stats.hypergeom.sf(np.minimum(cutoffs, n_t) - 1, n_t + n_c, n_t, cutoffs)
    return GlobalTest(p, best, filled, n_t, n_c, float(min(1.0, best_case.min() * len(cutoffs))))


def global_test_by_any(tested: Mapping[str, tuple[Floats, Floats]]) -> GlobalTest:
    """`global_test` of the same training (T,) and control people (C,) by several scores: the smallest p times their
    number.

    Evidence that only one channel shows is then not lost where another decides the score over all channels.
    """
    tests = {name: global_test(training, control) for name, (training, control) in tested.items()}
    name, best = min(tests.items(), key=lambda item: item[1].p_value)
    n = len(tests)
    return replace(
        best,
        p_value=min(1.0, n * best.p_value),
        smallest_p=min(1.0, n * best.smallest_p),
        score=name,
        n_scores=n,
    )


def min_exposed_by_any(tested: Collection[tuple[Floats, Floats]], level: float) -> int:
    """`min_exposed` by several scores of the same training (T,) and control people (C,), at confidence 1 - ``level``.

    It is the highest of the limits by each score at its part of the level. If m people are exposed, the others are
    exchangeable with control people by every score, so each limit is at most m unless its test errs.
    """
    return max(min_exposed(training, control, level / len(tested)) for training, control in tested)


def min_exposed(training: Floats, control: Floats, level: float) -> int:
    """A lower limit of the number of exposed training people, at confidence 1 - ``level``.

    If m people were exposed, the others would be exchangeable with control people, and removing the m highest leaves
    ranks that are lower still. So m is ruled out when the global test rejects without them, and the limit is the
    smallest m that is not. This inverts an exact test, as Meinshausen and Rice 2006 (doi:10.1214/009053605000000741)
    do, and assumes only that people who are not exposed are exchangeable.
    """
    n_t, n_c = len(training), len(control)
    if not n_t or not n_c:
        return 0
    # Without the m highest training people, the first K of the others are the first K + m of all minus those m.
    filled = np.concatenate([[0], np.cumsum(_by_rank(training, control))])
    last = 0
    for m in range(n_t):
        cutoffs = _cutoffs(n_t + n_c - m)
        # The cutoff that ruled out the last m mostly rules out this one too, so it is tried first.
        for i in (last, *range(len(cutoffs))):
            if i < len(cutoffs):
                k = cutoffs[i]
                p = scipy.stats.hypergeom.sf(max(0, filled[k + m] - m) - 1, n_t + n_c - m, n_t - m, k)
                if p * len(cutoffs) <= level:
                    last = i
                    break
        else:
            return m
    return n_t


def _by_rank(training: Floats, control: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether each person is a training person, from the highest exposure down; control people win ties."""
    score = np.concatenate([control, training])
    is_training = np.concatenate([np.zeros(len(control), np.bool_), np.ones(len(training), np.bool_)])
    # The sort is stable and controls come first, so they precede training people of the same score.
    return is_training[np.argsort(-score, kind="stable")]


def _cutoffs(n_people: int) -> Ints:
    return np.asarray(2 ** np.arange(int(np.log2(max(1, n_people // 4))) + 1), np.int64)


def _strongest(filled: Ints, n_t: int, n_c: int) -> tuple[float, int, int]:
    """p over all cutoffs, the cutoff with the strongest evidence, and the number of training people within it."""
    if n_t == 0:
        return 1.0, 0, 0
    cutoffs = _cutoffs(n_t + n_c)
    p = scipy.stats.hypergeom.sf(filled[cutoffs - 1] - 1, n_t + n_c, n_t, cutoffs)
    best = int(np.argmin(p))
    return float(min(1.0, p[best] * len(cutoffs))), int(cutoffs[best]), int(filled[cutoffs[best] - 1])
