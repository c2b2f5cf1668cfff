"""What an audit would have found: planted leaks against the line at which people are listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.conformal import conformal_p
from unveil.stats.intervals import share
from unveil.stats.person_tests import PersonTests
from unveil.types import Estimate, Floats

# A kind and strength counts as found when this share of its planted people is.
FOUND = 0.95


@dataclass(frozen=True)
class Recall:
    """One kind of planted leak at one strength: how many would have been listed."""

    kind: str
    strength: str
    one_leak: Estimate  # had this person alone leaked so
    many_leaks: Estimate  # had one in twenty leaked so
    not_detected: int  # planted pictures in which no face was found; they count as not found


@dataclass(frozen=True)
class DetectionThreshold:
    """What an additional exposed person must reach to be listed, everybody else as they are.

    ``largest_p`` by counting and by the modelled tail; None where no score would do.
    """

    n_leaks: int
    largest_p: float | None
    largest_p_gpd: float | None


def detection_threshold(decision: PersonTests, n_leaks: int, q: float) -> DetectionThreshold:
    """The line at which Benjamini-Hochberg at ``q`` lists ``n_leaks`` more people who score alike.

    They take the place of the least exposed. The largest step r that the others' p-values and the newcomers reach
    together gives the largest p that is still listed, q r / n.
    """

    def largest(p: Floats | None, smallest: float) -> float | None:
        if p is None:
            return None
        n = len(p)
        others = np.sort(p)[: max(0, n - n_leaks)]
        step = np.arange(1, n + 1)
        reached = np.searchsorted(others, q * step / n * (1 + 1e-12), side="right") + min(n_leaks, n) >= step
        line = q * float(step[reached].max(initial=0)) / n
        return line if line >= smallest else None

    n_controls = decision.global_test.n_control
    return DetectionThreshold(
        n_leaks,
        largest(decision.p, 1 / (n_controls + 1)),
        None if decision.tail is None else largest(decision.p_gpd, decision.tail.smallest_p),
    )


def would_be_significant(
    scores: Floats, control: Floats, decision: PersonTests, line: DetectionThreshold
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which scores (N,) would be listed, by counting or by the modelled tail; -inf never is."""
    significant = np.zeros(len(scores), np.bool_)
    if line.largest_p is not None:
        significant |= conformal_p(scores, control) <= line.largest_p * (1 + 1e-12)
    if line.largest_p_gpd is not None and decision.tail is not None:
        significant |= decision.tail.p_values(scores) <= line.largest_p_gpd * (1 + 1e-12)
    return significant


def lowest_significant(control: Floats, decision: PersonTests, line: DetectionThreshold) -> float | None:
    """The score from which people are listed, to the accuracy of a bisection; None where no score would do."""
    low, high = float(control.min()), float(control.max()) + 100 * float(np.ptp(control) + 1e-9)
    if not would_be_significant(np.array([high]), control, decision, line)[0]:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if would_be_significant(np.array([middle]), control, decision, line)[0]:
            high = middle
        else:
            low = middle
    return high


def recall(
    kind: str,
    strength: str,
    scores: Floats,
    control: Floats,
    decision: PersonTests,
    alone: DetectionThreshold,
    together: DetectionThreshold,
) -> Recall:
    """The share of planted people (N,) that would have been listed, -inf for those whose face was not found."""

    def found(line: DetectionThreshold) -> Estimate:
        significant = would_be_significant(scores, control, decision, line)
        return share(int(significant.sum()), len(scores), "share of planted people listed")

    return Recall(kind, strength, found(alone), found(together), int(np.isneginf(scores).sum()))


def strongest_found(recalls: list[Recall]) -> Recall | None:
    """The strongest change, in the order given, up to which at least FOUND of the planted people would be listed."""
    found = None
    for one in recalls:
        if one.one_leak.value < FOUND:
            break
        found = one
    return found
