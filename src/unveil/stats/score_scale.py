"""A common scale for the scores of several channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Ints

# The scale is set by the median of the null and by this quantile.
REACH = 0.9
MIN_PEOPLE = 20


@dataclass(frozen=True)
class ScoreScale:
    """A linear scale: 0 is the median exposure of people of the null, and a tenth of them exceed 1."""

    middle: float
    spread: float

    def of(self, score: Floats) -> Floats:
        """Scores of any shape on this scale."""
        return (score - self.middle) / self.spread

    def lowered(self, by: float) -> ScoreScale:
        """The scale on which every score is lower by this much."""
        return ScoreScale(self.middle + by * self.spread, self.spread)


def max_over_channels(scores: Sequence[Floats]) -> tuple[Ints, Floats]:
    """The index (N,) of the channel with the highest score (each N,), and that score (N,); ties go to the first."""
    stacked = np.array(scores)
    return np.asarray(stacked.argmax(0), np.int64), np.asarray(stacked.max(0), np.float64)


def fit_score_scale(exposure: Floats) -> ScoreScale:
    """The scale of the exposures (N,) of people who are not tested, so that it favours neither side of a test.

    The highest score of several channels on such scales is one score, exchangeable between training and control people
    under the null. With fewer than MIN_PEOPLE people, scores are not rescaled.
    """
    if len(exposure) < MIN_PEOPLE:
        return ScoreScale(0.0, 1.0)
    middle, reach = (float(v) for v in np.quantile(exposure, [0.5, REACH]))
    return ScoreScale(middle, max(reach - middle, 1e-6))
