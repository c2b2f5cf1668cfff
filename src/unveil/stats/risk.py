"""Privacy risks as the success of an attack beyond its success against people whom the generator never saw."""

from __future__ import annotations

import numpy as np

from unveil.stats.intervals import LEVEL, NORMAL
from unveil.types import Estimate

METHOD = "(attack - control) / (1 - control), propagated Wilson intervals (doi:10.56553/popets-2023-0055)"


def excess_risk(attack: Estimate, control: Estimate) -> Estimate:
    """The risk (attack - control) / (1 - control) of two success rates, between 0 and 1.

    The control rate is what the attack achieves against people whom the generator never saw, so the risk is the part
    that only the generator explains (Giomi et al. 2023, doi:10.56553/popets-2023-0055). The interval is theirs: the
    centres and half widths of both Wilson intervals, with propagated errors. It is 0 to 1 if the attack always succeeds
    against control people.
    """
    n = attack.n + control.n
    if control.value >= 1 or not attack.n or not control.n:
        return Estimate(0.0, 0.0, 1.0, LEVEL, n, METHOD)
    value = (attack.value - control.value) / (1 - control.value)
    (a, error_a), (c, error_c) = (wilson(rate.value, rate.n) for rate in (attack, control))
    centre = (a - c) / (1 - c)
    error = float(np.hypot(error_a / (1 - c), error_c * (1 - a) / (1 - c) ** 2))
    value, low, high = (min(1.0, max(0.0, x)) for x in (value, centre - error, centre + error))
    return Estimate(value, min(low, value), max(high, value), LEVEL, n, METHOD)


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Centre and half width of the Wilson interval of a rate of ``n`` (1927, doi:10.1080/01621459.1927.10502953)."""
    centre = (rate * n + NORMAL**2 / 2) / (n + NORMAL**2)
    return centre, NORMAL / (n + NORMAL**2) * float(np.sqrt(n * rate * (1 - rate) + NORMAL**2 / 4))
