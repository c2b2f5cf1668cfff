"""The statement without a control set: synthetic images against searches of training people among each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unveil.stats.no_control import CrowdTest
from unveil.types import ChannelName, Estimate, Probability


@dataclass(frozen=True)
class SearchShift:
    """How the scores of synthetic images differ from those of real people away from the top, by channel.

    Scores with people other than the closest are compared: a leak does not raise them, a difference between synthetic
    and real images does. What would make the tests find too much is corrected; the rest is not.
    """

    channel: ChannelName
    """Name of the channel."""
    location: Estimate
    """Median of synthetic images minus that of real people, in units of the cosine."""
    spread_ratio: float
    """Spread (median minus 15% quantile) of synthetic images divided by that of real people."""
    correction: float
    """What was subtracted from the scores of synthetic images: the difference and a standard error, if it is above
    0."""
    factor: float
    """By what the distance of these scores from the median was divided, at least 1."""


@dataclass(frozen=True)
class NoControl:
    """The statement without a control set. It assumes that a synthetic image that copies nobody behaves like the image
    of one more person of the training collection."""

    why: str
    """Why this statement is made."""
    n_searches: int
    """Number of training people who were searched for among the other training people, with one image each."""
    unit: Literal["identity", "image"]
    """What the crowd test and the q-values of synthetic identities count. `image` if the synthetic set has no reliable
    labels."""
    n_units: int
    """Number of synthetic identities, or images."""
    crowd_test: CrowdTest
    """Test of the synthetic set as a whole."""
    smallest_p: Probability
    """Smallest conformal p-value of an image that this number of searches can give."""
    smallest_p_gpd: Probability | None
    """Smallest p-value of an image that the fitted tail may give. Null with too few searches for a fit."""
    below_median: Estimate
    """Share of synthetic identities (or images) whose score is below the median of the searches. Half are expected.
    More make the tests conservative. Fewer mean that many are close to one training person each."""
    shifts: tuple[SearchShift, ...]
    """The test of the assumption, by channel."""


@dataclass(frozen=True)
class ImprobablePair:
    """A synthetic and a training image that are closer than false matches are."""

    synthetic_id: str
    """The synthetic image."""
    training_id: str
    """The training image."""
    person: str
    """Label of the training person."""
    cosine: float
    """Uncorrected cosine similarity of the pair."""
    expected: float
    """Number of synthetic images expected to come as close to anybody by chance."""
