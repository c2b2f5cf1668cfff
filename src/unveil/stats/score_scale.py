"""A common scale for the scores of several channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unveil.types import Floats, Ints

# The scale is set by the median of all real people and by this quantile. Leaks raise scores, so the lower half of the
# scale stays what it is until half of all people leak.
BELOW = 0.15
MIN_PEOPLE = 20
# A person counts as exposed in a channel beyond this score, which 1% of people reach without a leak.
EXPOSED = 3.5
# What the score of a channel counts that does not lead.
OTHER_CHANNELS = 0.5


@dataclass(frozen=True)
class ScoreScale:
    """A linear scale: 0 is the median exposure of real people, and 15% of them are below -1."""

    middle: float
    spread: float

    def of(self, score: Floats) -> Floats:
        """Scores of any shape on this scale."""
        return (score - self.middle) / self.spread

    def lowered(self, by: float) -> ScoreScale:
        """The scale on which every score is lower by this much."""
        return ScoreScale(self.middle + by * self.spread, self.spread)

    def weighted(self, weight: float) -> ScoreScale:
        """The scale on which every score is multiplied by this weight."""
        return ScoreScale(self.middle, self.spread / weight)


def max_over_channels(scores: Sequence[Floats]) -> tuple[Ints, Floats]:
    """The index (N,) of the channel with the highest score (each N,), and that score (N,); ties go to the first."""
    stacked = np.array(scores)
    return np.asarray(stacked.argmax(0), np.int64), np.asarray(stacked.max(0), np.float64)


def fit_score_scale(exposure: Floats) -> ScoreScale:
    """The scale of the exposures (N,) of real people, training and control people alike.

    With fewer than MIN_PEOPLE people, scores are not rescaled.
    """
    if len(exposure) < MIN_PEOPLE:
        return ScoreScale(0.0, 1.0)
    low, middle = (float(v) for v in np.quantile(exposure, [BELOW, 0.5]))
    return ScoreScale(middle, max(middle - low, 1e-6))


def fit_score_scales(exposures: Mapping[str, Floats]) -> dict[str, ScoreScale]:
    """The scale of each channel, from the exposures (N,) of all real people by each.

    The channel in which most people are exposed leads, the first of equals. Scores of other channels count half: the
    maximum of a channel that shows the leak and one that does not loses findings, since both bring noise. Which side a
    person is on plays no part, so the highest score over the channels is one score, exchangeable between training and
    control people under the null.
    """
    scales = {channel: fit_score_scale(exposure) for channel, exposure in exposures.items()}
    leader = leading_channel({channel: scales[channel].of(exposure) for channel, exposure in exposures.items()})
    return {c: scale if c == leader else scale.weighted(OTHER_CHANNELS) for c, scale in scales.items()}


def leading_channel(scores: Mapping[str, Floats]) -> str:
    """The channel in which most people are exposed by their exposure (N,) on its scale, the first of equals."""
    return max(scores, key=lambda channel: int((scores[channel] > EXPOSED).sum()))
