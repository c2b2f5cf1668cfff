"""One scale for the scores of several channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Ints

# The middle of the null and how far out this share of it reaches make the scale.
REACH = 0.9
MIN_PEOPLE = 20


@dataclass(frozen=True)
class ScoreScale:
    """A linear scale on which 0 is the middle of what people reach who are in no generator, and 1 what a tenth of
    them exceed."""

    middle: float
    spread: float

    def of(self, score: Floats) -> Floats:
        """Scores of any shape on this scale."""
        return (score - self.middle) / self.spread


def max_over_channels(scores: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Which of several channels' scores (each N,) is the highest (N,), the first of equals, and that score (N,)."""
    stacked = np.array(scores)
    return np.asarray(stacked.argmax(0), np.int64), np.asarray(stacked.max(0), np.float64)


def fit_score_scale(exposure: Floats) -> ScoreScale:
    """The scale of exposures (N,) of people who take no part in the tests, so that it favours neither side of them.

    The highest of several channels' scores on such scales is again one score, exchangeable between training and control
    people under the null. With fewer than FEWEST people scores keep their own scale.
    """
    if len(exposure) < MIN_PEOPLE:
        return ScoreScale(0.0, 1.0)
    middle, reach = (float(v) for v in np.quantile(exposure, [0.5, REACH]))
    return ScoreScale(middle, max(reach - middle, 1e-6))
