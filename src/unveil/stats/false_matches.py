"""False matches: how many pairs exceed a threshold, and how many are expected without a leak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Floats, Ints

RESAMPLES = 1000
# Thresholds are the cosines of these ranks among the closest pairs with control people.
RANKS = (1000, 100, 10, 1)


@dataclass(frozen=True)
class FalseMatches:
    """Pairs at or above one cosine: observed with training people, and expected from control people."""

    cosine: float
    """The cosine."""
    false_match_rate: Estimate
    """Share of pairs of a synthetic image and an image of a control person."""
    expected: Estimate
    """Number of pairs with training people expected at this rate."""
    observed: int
    """Number of pairs with training people."""
    saturated: bool
    """Whether `observed` is a lower limit because not all pairs were stored."""
    observed_people: int
    """Number of training people in these pairs."""
    max_pairs_per_training_image: int
    """Largest number of these pairs with one training image."""


def false_matches(
    control_pairs: Floats,
    control_person: Ints,
    n_control_people: int,
    n_control_compared: int,
    training_pairs: Floats,
    training_row: Ints,
    training_person: Ints,
    n_training_compared: int,
    rng: np.random.Generator,
) -> tuple[FalseMatches, ...]:
    """Expected and observed matches at several thresholds, from the closest pairs of both sides, best first.

    The false match rate is that of single comparisons (ISO/IEC 19795-1). Its interval is a bootstrap over control
    people, since the pairs of one person depend on each other. It is too short where a few hubs have most of the pairs
    (docs/decisions/0010 has figures). Assumes that training images match falsely as often as control images do.
    """
    involved, code = np.unique(control_person[: RANKS[0]], return_inverse=True)
    # How often each person with a pair is drawn in a resample. The others have none and are drawn together.
    odds = np.full(len(involved) + 1, 1 / n_control_people)
    odds[-1] = max(0.0, 1 - len(involved) / n_control_people)
    resampled = rng.multinomial(n_control_people, odds, size=RESAMPLES)[:, :-1]
    found = []
    for rank in RANKS:
        if rank > len(control_pairs):
            continue
        threshold = float(control_pairs[rank - 1])
        above = np.flatnonzero(control_pairs[: RANKS[0]] >= threshold)
        per_person = np.bincount(code[above], minlength=len(involved))
        low, high = (float(v) for v in np.quantile(resampled @ per_person, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        n = len(above)
        observed = np.flatnonzero(training_pairs >= threshold)

        def estimate(scale: float, size: int, what: str, n: int = n, low: float = low, high: float = high) -> Estimate:
            return Estimate(n * scale, min(low, n) * scale, max(high, n) * scale, LEVEL, size, what)

        method = "percentile bootstrap over control people"
        found.append(
            FalseMatches(
                cosine=threshold,
                false_match_rate=estimate(
                    1 / n_control_compared, n_control_compared, f"share of the pairs with control people, {method}"
                ),
                expected=estimate(
                    n_training_compared / n_control_compared,
                    n_training_compared,
                    f"false match rate times pairs with training people, {method}",
                ),
                observed=len(observed),
                saturated=len(observed) == len(training_pairs) < n_training_compared,
                observed_people=len(np.unique(training_person[observed])),
                max_pairs_per_training_image=int(np.bincount(training_row[observed]).max(initial=0)),
            )
        )
    return tuple(found)
