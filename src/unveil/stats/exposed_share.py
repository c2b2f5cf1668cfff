"""How many training people are exposed: an estimate of their share, with an interval."""

from __future__ import annotations

import numpy as np

from unveil.stats.conformal import conformal_p
from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Floats

# Storey's tuning parameter: people with a conformal p-value above it look like chance.
LAMBDA = 0.5
RESAMPLES = 2000
METHOD = (
    f"1 - pi0 of Storey 2002 (doi:10.1111/1467-9868.00346) at lambda {LAMBDA}, from conformal p-values against control "
    f"people; percentile bootstrap over people of both sides ({RESAMPLES} resamples), never below the exact lower limit"
)


def exposed_share(training: Floats, control: Floats, lower_limit: int, rng: np.random.Generator) -> Estimate:
    """The share of training people (P,) whose exposure is beyond chance, given that of control people (C,).

    Among people who are not exposed, half have a conformal p-value above 1/2 (Storey 2002,
    doi:10.1111/1467-9868.00346; with lambda 1/2 as in Storey, Taylor and Siegmund 2004,
    doi:10.1111/j.1467-9868.2004.00439.x). What is missing from that half is exposed. ``lower_limit`` is the exact lower
    limit of the number of exposed people; value and interval are never below it. Exposed people whose score looks like
    chance are not counted, so the upper end does not limit their number.
    """
    n, m = len(training), len(control)
    least = lower_limit / n if n else 0.0
    if not n or not m:
        return Estimate(least, least, 1.0, LEVEL, n, METHOD)
    # A p-value exceeds LAMBDA where the score is at most the control score of this rank.
    rank = int(np.floor(LAMBDA * (m + 1)))
    by_chance = (m + 1 - rank) / (m + 1)
    value = 1 - float((conformal_p(training, control) > LAMBDA).mean()) / by_chance
    resampled = 1 - _share_by_chance(training, control, rank, rng) / by_chance
    low, high = (float(q) for q in np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    value, low, high = (min(1.0, max(least, x)) for x in (value, min(low, value), max(high, value)))
    return Estimate(value, low, high, LEVEL, n, METHOD)


def _share_by_chance(training: Floats, control: Floats, rank: int, rng: np.random.Generator) -> Floats:
    """The share of training people at or below the ``rank``-th highest control score, in each resample of both.

    An order statistic of a bootstrap sample has a beta distributed rank, and the number of people below it is binomial,
    so no sample is drawn person by person.
    """
    n, m = len(training), len(control)
    if rank == 0:
        return np.zeros(RESAMPLES)
    position = np.floor(m * rng.beta(m + 1 - rank, rank, RESAMPLES)).astype(np.int64)
    score = np.sort(control)[np.minimum(position, m - 1)]
    below = np.searchsorted(np.sort(training), score, side="right") / n
    return np.asarray(rng.binomial(n, below) / n, np.float64)
