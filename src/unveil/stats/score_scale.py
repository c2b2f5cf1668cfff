"""A common scale for the scores of several channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unveil.types import Floats, Ints

T = TypeVar("T", bound=np.generic)

# The scale is set by these quantiles of all real people. Leaks raise scores, so the lowest scores are those of people
# who do not leak, even where most people leak.
LOW, HIGH = 0.1, 0.3
# Where the standard Gumbel distribution has these quantiles, its 15% quantile and its median.
GUMBEL_LOW, GUMBEL_BELOW, GUMBEL_HIGH, GUMBEL_MIDDLE = (-np.log(-np.log([LOW, 0.15, HIGH, 0.5]))).tolist()
MIN_PEOPLE = 20
# A person counts as exposed in a channel beyond this score, which 2% of a Gumbel distribution exceed.
EXPOSED = 3.5
# Where at most this share of people is exposed in every channel, few leak, and the upper half of a channel shows how
# far its scores reach without a leak. 2% are expected by chance, and a leak of 10% reaches the upper quantile.
FEW = 0.05
# A person is then exposed who is this many times as far above the median as this quantile.
FAR, UPPER = 3.5, 0.9
# What the score of a channel counts that does not lead.
OTHER_CHANNELS = 0.5


@dataclass(frozen=True)
class ScoreScale:
    """A linear scale: 0 is the median exposure of real people, and 15% are below -1, both by the lowest 30%."""

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


# Scores as they are: where nothing is known of their distribution.
NO_SCALE = ScoreScale(0.0, 1.0)


def max_over_channels(scores: Sequence[Floats]) -> tuple[Ints, Floats]:
    """The index (N,) of the channel with the highest score (each N,), and that score (N,); ties go to the first."""
    if len(scores) == 1:  # without a copy of what may be millions of scores
        return np.broadcast_to(np.int64(0), scores[0].shape), scores[0]
    stacked = np.array(scores)
    return np.asarray(stacked.argmax(0), np.int64), np.asarray(stacked.max(0), np.float64)


def of_channel(channel: Ints, values: Sequence[npt.NDArray[T]]) -> npt.NDArray[T]:
    """The value (N,) of each channel (N,) of an index, from those of all channels (each N,)."""
    return values[0] if len(values) == 1 else np.asarray(np.choose(channel, list(values)), values[0].dtype)


def fit_score_scale(exposure: Floats) -> ScoreScale:
    """The scale of the exposures (N,) of real people, training and control people alike.

    The exposure of a person is the highest of many scores, and is assumed to follow a Gumbel distribution, the limit of
    such maxima (Fisher and Tippett 1928, doi:10.1017/S0305004100015681): Q(p) = location - spread * ln(-ln p). Its two
    parameters follow from the 10% and 30% quantiles. Zero is the median of that distribution, and -1 its 15% quantile.
    Where the assumption fails, units differ, but everybody's scores keep their order. The scale breaks where more than
    60% to 70% of all people leak. With fewer than MIN_PEOPLE people, scores are not rescaled.
    """
    if len(exposure) < MIN_PEOPLE:
        return NO_SCALE
    low, high = (float(v) for v in np.quantile(exposure, [LOW, HIGH]))
    unit = (high - low) / (GUMBEL_HIGH - GUMBEL_LOW)
    return ScoreScale(low + (GUMBEL_MIDDLE - GUMBEL_LOW) * unit, max((GUMBEL_MIDDLE - GUMBEL_BELOW) * unit, 1e-6))


def fit_score_scales(exposures: Mapping[str, Floats]) -> dict[str, ScoreScale]:
    """The scale of each channel, from the exposures (N,) of all real people by each.

    See `channel_weights` for how the channels then count.
    """
    scales = {channel: fit_score_scale(exposure) for channel, exposure in exposures.items()}
    weights = channel_weights({channel: scales[channel].of(exposure) for channel, exposure in exposures.items()})
    return {channel: scale.weighted(weights[channel]) for channel, scale in scales.items()}


def channel_weights(scores: Mapping[str, Floats]) -> dict[str, float]:
    """What the scores of each channel count, from the exposure (N,) of all real people on its scale.

    The channel that leads (`leading_channel`) counts in full. Scores of other channels count half: the maximum of a
    channel that shows the leak and one that does not loses findings, since both bring noise. Which side a person is on
    plays no part, so the highest score over the channels is one score, exchangeable between training and control people
    under the null.
    """
    leader = leading_channel(scores)
    return {channel: 1.0 if channel == leader else OTHER_CHANNELS for channel in scores}


def leading_channel(scores: Mapping[str, Floats]) -> str:
    """The channel in which most people are exposed by their exposure (N,) on its scale, the first of equals.

    The lowest 30% of people set the scale, so that many leaks do not widen it. They do not show how heavy the upper
    tail of a channel is without a leak. Where few people are exposed in every channel, distances are therefore counted
    in units of the upper half: from the median to the 90% quantile.
    """
    counts = {channel: int((score > EXPOSED).sum()) for channel, score in scores.items()}
    if all(n <= FEW * len(scores[channel]) for channel, n in counts.items()):
        counts = {channel: _far_above(score) for channel, score in scores.items()}
    return max(counts, key=counts.__getitem__)


def _far_above(score: Floats) -> int:
    """How many people are FAR times as far above the median as the quantile UPPER."""
    if not len(score):
        return 0
    middle, upper = (float(v) for v in np.quantile(score, [0.5, UPPER]))
    return int((score > middle + FAR * max(upper - middle, 1e-6)).sum())
