"""Which training people are exposed: everything that one score says of them, against control people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.conformal import benjamini_hochberg, conformal_p
from unveil.stats.enrichment import GlobalTest, global_test, min_exposed
from unveil.stats.intervals import LEVEL
from unveil.stats.tail import Tail, fit_tail
from unveil.types import Estimate, Floats


@dataclass(frozen=True)
class PersonTests:
    """p and q of each training person (P,), by counting and by the modelled tail, and the test of them all."""

    p: Floats
    q: Floats
    tail: Tail | None
    p_gpd: Floats | None
    q_gpd: Floats | None
    global_test: GlobalTest

    def conformal(self, level: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Who is listed by counting at a false discovery rate of ``level``."""
        return np.asarray(self.q <= level, np.bool_)

    def gpd(self, level: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Who is listed by the modelled tail."""
        if self.q_gpd is None:
            return np.zeros(len(self.q), np.bool_)
        return np.asarray(self.q_gpd <= level, np.bool_)


def person_tests(training: Floats, control: Floats) -> PersonTests:
    """Judges the exposures of training people (P,) by those of control people (C,): docs/explanation/method.md."""
    p = conformal_p(training, control)
    tail = fit_tail(control)
    p_gpd = None if tail is None else tail.p_values(training)
    return PersonTests(
        p=p,
        q=benjamini_hochberg(p),
        tail=tail,
        p_gpd=p_gpd,
        q_gpd=None if p_gpd is None else benjamini_hochberg(p_gpd),
        global_test=global_test(training, control),
    )


def exposed(training: Floats, control: Floats, n_listed: int) -> Estimate:
    """How many training people are exposed beyond chance: those listed, and a lower limit that needs no list.

    Nothing limits the number from above: whoever leaked without coming closer than chance is not seen.
    """
    low = min_exposed(training, control, 1 - LEVEL)
    n = len(training)
    return Estimate(
        float(max(low, n_listed)),
        float(low),
        float(n),
        LEVEL,
        n,
        "people listed (or the lower limit where that is higher); lower limit: the fewest people whose removal makes "
        "the global test fail; no upper limit can be given",
    )
