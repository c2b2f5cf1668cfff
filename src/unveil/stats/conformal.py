"""Conformal p-values and q-values."""

from __future__ import annotations

import numpy as np

from unveil.types import Floats

# People whose p is at least this look like chance: they show how many did not leak. A larger value would count people
# as exposed where all training people are a little closer than control people (docs/decisions/0005-statistics.md).
LAMBDA = 0.1
# With fewer people on either side the share of them is too uncertain to be of use, and taken as 1.
MIN_PEOPLE = 50


def conformal_p(scores: Floats, controls: Floats) -> Floats:
    """p (N,) of scores (N,) against control scores (C,): (1 + #{c >= score}) / (C + 1).

    Valid when a score and the controls are exchangeable under the null (Vovk et al. 2005, doi:10.1007/b106715).
    """
    ascending = np.sort(controls)
    at_least = len(ascending) - np.searchsorted(ascending, scores, side="left")
    return (1 + at_least) / (len(ascending) + 1)


def chance_share(p: Floats, n_controls: int) -> float:
    """The estimated share of people with conformal p (N,) whom chance explains; 1 with fewer than MIN_PEOPLE.

    Storey's estimate (2002, doi:10.1111/1467-9868.00346) as in AdaDetect (Marandon et al. 2024,
    doi:10.1214/23-AOS2338): (1 + #{p >= l}) / (N (1 - l)). l is LAMBDA, rounded up to a multiple of 1 / (C + 1). It is
    above 1 where people are less exposed than control people.
    """
    return share_with(int((p >= cutoff(n_controls) - 1e-12).sum()), len(p), n_controls)


def share_with(n_by_chance: int, n_people: int, n_controls: int) -> float:
    """`chance_share` of people of whom ``n_by_chance`` have a p of at least `cutoff`."""
    if min(n_people, n_controls) < MIN_PEOPLE:
        return 1.0
    return (1 + n_by_chance) / (n_people * (1 - cutoff(n_controls)))


def cutoff(n_controls: int) -> float:
    """LAMBDA, rounded up to a value that a conformal p against this number of controls can have."""
    return float(np.ceil(LAMBDA * (n_controls + 1) - 1e-9)) / (n_controls + 1)


def conformal_q(p: Floats, n_controls: int) -> Floats:
    """q (N,) of conformal p (N,): Benjamini-Hochberg with `chance_share`, and never below p.

    q of the r-th smallest p is the least p_(s) max(1, N share / s) over s >= r. The share of people who did not leak
    among all with q at most a level is on average at most that level (docs/decisions/0005-statistics.md).
    """
    order = np.argsort(p, kind="stable")
    n_by_chance = len(p) * chance_share(p, n_controls)
    ratio = p[order] * np.maximum(1.0, n_by_chance / np.arange(1, len(p) + 1))
    q = np.empty(len(p))
    q[order] = np.minimum(1.0, np.minimum.accumulate(ratio[::-1])[::-1])
    return q


def min_significant(n_people: int, n_controls: int, fdr: float, share: float = 1.0) -> int:
    """The number of people who must exceed every control before conformal q reach ``fdr``, at this `chance_share`."""
    return int(np.ceil(share * n_people / (fdr * (n_controls + 1)) - 1e-9))
