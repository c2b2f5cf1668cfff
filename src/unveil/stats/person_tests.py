"""The tests of training people by one score: p, q and the global test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from unveil.stats.conformal import chance_share, conformal_p, conformal_q
from unveil.stats.enrichment import GlobalTest, global_test, min_exposed_by_any
from unveil.stats.intervals import LEVEL
from unveil.stats.tail import Tail, fit_tail
from unveil.types import Estimate, Floats, Mask


@dataclass(frozen=True)
class PersonTests:
    """p and q of each training person (P,), conformal and from the GPD tail, and the global test, all by one score.

    ``chance_share`` is the share of them with which conformal q are made.
    """

    p: Floats
    q: Floats
    chance_share: float
    tail: Tail | None
    p_gpd: Floats | None
    q_gpd: Floats | None
    global_test: GlobalTest

    def conformal(self, fdr: float) -> Mask:
        """Who (P,) is significant by conformal q at a false discovery rate."""
        return np.asarray(self.q <= fdr, np.bool_)

    def gpd(self, fdr: float) -> Mask:
        """Who (P,) is significant by the GPD tail at a false discovery rate; nobody without a tail."""
        if self.q_gpd is None:
            return np.zeros(len(self.q), np.bool_)
        return np.asarray(self.q_gpd <= fdr, np.bool_)


def person_tests(training: Floats, control: Floats, raised: tuple[Floats, Floats] | None = None) -> PersonTests:
    """Tests the exposures of training people (P,) against those of control people (C,).

    ``raised`` are the same exposures after `lifted`. They decide conformal p and the global test, which need ranks
    only. The GPD tail extrapolates from scores, so it has the exposures as they were measured.

    Conformal q are those of `conformal_q`, q of the GPD tail are `benjamini_hochberg`: the share of people whom chance
    explains can be estimated from ranks, and no theorem covers it for a fitted tail.
    """
    ranked = (training, control) if raised is None else raised
    p = conformal_p(*ranked)
    tail = fit_tail(control)
    p_gpd = None if tail is None else tail.p_values(training)
    return PersonTests(
        p=p,
        q=conformal_q(p, len(control)),
        chance_share=chance_share(p, len(control)),
        tail=tail,
        p_gpd=p_gpd,
        q_gpd=None if p_gpd is None else benjamini_hochberg(p_gpd),
        global_test=global_test(*ranked),
    )


def lifted(training: Floats, control: Floats, near_training: Mask, near_control: Mask) -> tuple[Floats, Floats]:
    """The exposures (P,) and (C,) with those of people who have a near-duplicate above all others.

    They rise just above the highest exposure of all others, on both sides alike, so ranks test them like any score.
    They rise no further: how far beyond chance a person is, only the score shows, since too few pairs of strangers are
    known to say how rare a near-duplicate is. For the same reason the GPD tail does not see that they rose: others who
    leak would set the height, and a person with a near-duplicate by chance would be as improbable as they are.
    """
    near, everybody = np.concatenate([near_training, near_control]), np.concatenate([training, control])
    if not near.any() or near.all():
        return training, control
    top = float(everybody[~near].max())
    above = np.maximum(everybody, top + 1e-6 * max(1.0, abs(top)))
    raised = np.where(near, above, everybody)
    return raised[: len(training)], raised[len(training) :]


def benjamini_hochberg(p: Floats) -> Floats:
    """Benjamini-Hochberg q (P,) of p (P,) (1995, doi:10.1111/j.2517-6161.1995.tb02031.x)."""
    return np.asarray(scipy.stats.false_discovery_control(p), np.float64)


def exposed(tested: Sequence[tuple[Floats, Floats]], n_significant: int) -> Estimate:
    """How many training people are exposed beyond chance: the significant ones, and a lower limit that names nobody.

    ``tested`` are the exposures (P,) and (C,) of both sides by each score that the global test looks at. There is no
    upper limit: a person who leaked without exceeding chance is not found.
    """
    low = min_exposed_by_any(tested, 1 - LEVEL)
    n = len(tested[0][0])
    return Estimate(
        float(max(low, n_significant)),
        float(low),
        float(n),
        LEVEL,
        n,
        "significant people (or the lower limit where that is higher); lower limit: the smallest number of people "
        "without whom the global test does not reject, by any of its scores; there is no upper limit",
    )
