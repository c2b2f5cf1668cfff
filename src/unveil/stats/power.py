"""Power: which planted leaks would be significant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.conformal import conformal_p, cutoff, share_with
from unveil.stats.intervals import share
from unveil.stats.person_tests import PersonTests
from unveil.types import Estimate, Floats, Probability

# A kind and strength is found when this share of its planted people is significant.
FOUND = 0.95


@dataclass(frozen=True)
class Recall:
    """The share of planted leaks of one kind and strength that the audit finds."""

    kind: str
    """Kind of change to the image, such as blur."""
    strength: str
    """Strength of the change."""
    one_leak: Estimate
    """Share of planted people found if each is the only one who leaks."""
    many_leaks: Estimate
    """Share of planted people found if 5% of people leak alike."""
    not_detected: int
    """Number of planted images without a detected face. They count as not found."""


@dataclass(frozen=True)
class DetectionThreshold:
    """What additional exposed people must reach to become significant."""

    n_leaks: int
    """Number of additional people."""
    largest_p: Probability | None
    """Largest conformal p-value that suffices. Null if none does."""
    largest_p_gpd: Probability | None
    """Largest GPD p-value that suffices. Null if none does."""


def detection_threshold(decision: PersonTests, n_leaks: int, fdr: float) -> DetectionThreshold:
    """The p at which ``n_leaks`` additional people with equal scores become significant at ``fdr``.

    They replace the least exposed people. The largest step r that the p-values of the others and the additional people
    reach together gives the largest significant p. For the GPD tail that is fdr r / n, for conformal p
    fdr r / (n share), at most fdr, with `chance_share` of the others and the additional people.
    """
    n, n_controls = len(decision.p), decision.global_test.n_control
    n_leaks = min(n_leaks, n)

    def largest(p: Floats, smallest: float, by_chance: float) -> float | None:
        step = np.arange(1, n + 1)
        reach = fdr * np.minimum(1.0, step / max(by_chance, 1e-9))
        reached = np.searchsorted(np.sort(p)[: n - n_leaks], reach * (1 + 1e-12), side="right") + n_leaks >= step
        threshold = float(reach[reached].max(initial=0))
        return threshold if threshold >= smallest else None

    def conformal() -> float | None:
        smallest, limit = 1 / (n_controls + 1), cutoff(n_controls)
        others = np.sort(decision.p)[: n - n_leaks]
        n_by_chance = int((others >= limit - 1e-12).sum())
        # Additional people with a p of the cutoff or more count among those whom chance explains.
        counted = largest(decision.p, smallest, n * share_with(n_by_chance + n_leaks, n, n_controls))
        if counted is not None and counted >= limit:
            return counted
        found = largest(decision.p, smallest, n * share_with(n_by_chance, n, n_controls))
        return None if found is None else min(found, limit - smallest)

    return DetectionThreshold(
        n_leaks,
        conformal(),
        None
        if decision.tail is None or decision.p_gpd is None
        else largest(decision.p_gpd, decision.tail.smallest_p, n),
    )


def would_be_significant(
    scores: Floats, control: Floats, decision: PersonTests, threshold: DetectionThreshold
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which scores (N,) would be significant, conformal or by the GPD tail; -inf never is."""
    significant = np.zeros(len(scores), np.bool_)
    if threshold.largest_p is not None:
        significant |= conformal_p(scores, control) <= threshold.largest_p * (1 + 1e-12)
    if threshold.largest_p_gpd is not None and decision.tail is not None:
        significant |= decision.tail.p_values(scores) <= threshold.largest_p_gpd * (1 + 1e-12)
    return significant


def lowest_significant(control: Floats, decision: PersonTests, threshold: DetectionThreshold) -> float | None:
    """The score from which people are significant, by bisection; None where no score suffices."""
    low, high = float(control.min()), float(control.max()) + 100 * float(np.ptp(control) + 1e-9)
    if not would_be_significant(np.array([high]), control, decision, threshold)[0]:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if would_be_significant(np.array([middle]), control, decision, threshold)[0]:
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
    one_leak: DetectionThreshold,
    many_leaks: DetectionThreshold,
) -> Recall:
    """The share of planted people (N,) who would be significant; a score is -inf where no face was detected."""

    def found(threshold: DetectionThreshold) -> Estimate:
        significant = would_be_significant(scores, control, decision, threshold)
        return share(int(significant.sum()), len(scores), "share of planted people who are significant")

    return Recall(kind, strength, found(one_leak), found(many_leaks), int(np.isneginf(scores).sum()))


def strongest_found(recalls: list[Recall]) -> Recall | None:
    """The strongest perturbation, in order, up to which at least FOUND of the planted people are significant."""
    found = None
    for one in recalls:
        if one.one_leak.value < FOUND:
            break
        found = one
    return found
