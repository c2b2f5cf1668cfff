"""How many pairs lie above a line, and how many would by accident."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.stats.intervals import LEVEL
from unveil.types import Estimate, Floats, Ints

RESAMPLES = 1000
# Lines are the cosines of these ranks among the closest pairs of control people.
RANKS = (1000, 100, 10, 1)


@dataclass(frozen=True)
class FalseMatches:
    """Pairs at or above one cosine: those of training people, beside those that control people lead one to expect."""

    cosine: float
    false_match_rate: Estimate  # of a synthetic picture with a picture of a control person
    expected: Estimate  # pairs with training people
    observed: int
    saturated: bool  # more were there than are kept: ``observed`` is then a lower limit
    observed_people: int
    max_pairs_per_training_image: int  # pairs of the training picture that has most of them


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
    """The table of expected and observed matches, from the closest pairs of both sides, best first.

    False match rate as in ISO/IEC 19795-1: of single comparisons. The interval is a bootstrap over control people: a
    person's pairs rise and fall together. It is too short where a few faces that are close to everybody bring most of
    the pairs (docs/decisions/0010 has figures). Assumes that training pictures would match by accident as often as
    control pictures do.
    """
    involved, code = np.unique(control_person[: RANKS[0]], return_inverse=True)
    # How often each person with a pair is drawn in a resample; the others are drawn together, since they bring none.
    odds = np.full(len(involved) + 1, 1 / n_control_people)
    odds[-1] = max(0.0, 1 - len(involved) / n_control_people)
    drawn = rng.multinomial(n_control_people, odds, size=RESAMPLES)[:, :-1]
    found = []
    for rank in RANKS:
        if rank > len(control_pairs):
            continue
        line = float(control_pairs[rank - 1])
        above = np.flatnonzero(control_pairs[: RANKS[0]] >= line)
        per_person = np.bincount(code[above], minlength=len(involved))
        low, high = (float(v) for v in np.quantile(drawn @ per_person, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        n = len(above)
        observed = np.flatnonzero(training_pairs >= line)

        def estimate(scale: float, size: int, what: str, n: int = n, low: float = low, high: float = high) -> Estimate:
            return Estimate(n * scale, min(low, n) * scale, max(high, n) * scale, LEVEL, size, what)

        over = "percentile bootstrap over control people"
        found.append(
            FalseMatches(
                cosine=line,
                false_match_rate=estimate(
                    1 / n_control_compared, n_control_compared, f"share of the pairs with control people, {over}"
                ),
                expected=estimate(
                    n_training_compared / n_control_compared,
                    n_training_compared,
                    f"false match rate times pairs with training people, {over}",
                ),
                observed=len(observed),
                saturated=len(observed) == len(training_pairs) < n_training_compared,
                observed_people=len(np.unique(training_person[observed])),
                max_pairs_per_training_image=int(np.bincount(training_row[observed]).max(initial=0)),
            )
        )
    return tuple(found)
