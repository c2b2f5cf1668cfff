"""What an audit finds: training people, synthetic identities, pairs of images and hub images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from unveil.stats.leak_kinds import ImageSimilarity, LeakKind
from unveil.stats.statements import Evidence
from unveil.types import ChannelName, Probability

SameImage = Literal["bytes", "pixels", "near-duplicate"]


@dataclass(frozen=True)
class PairKind:
    """The kind of leak that a pair is if it shows one person, and how similar its two images are."""

    kind: LeakKind
    """The kind of leak."""
    similarity: ImageSimilarity
    """How similar the two images are; the kind follows from it."""


@dataclass(frozen=True)
class ImageCopy:
    """A synthetic image that is a copy of a training image: a fact, not a test."""

    synthetic_id: str
    """The synthetic image."""
    training_id: str
    """The training image."""
    person: str
    """Label of the training person."""
    equal: Literal["bytes", "pixels", "nearly"]
    """`bytes`: the files are equal. `pixels`: the decoded images are equal, after their EXIF orientation. `nearly`:
    they are as similar as the training image re-encoded, resized or mirrored."""


def fewest_people(copies: Iterable[ImageCopy]) -> int:
    """The fewest people whom copies can show: labels of which copies share an image can be one person, or wrong."""
    parent: dict[str, str] = {}
    first: dict[str, str] = {}  # the first person of each synthetic image

    def root(person: str) -> str:
        while (above := parent.setdefault(person, person)) != person:
            parent[person] = parent[above]
            person = above
        return person

    for copy in copies:
        own, other = root(copy.person), root(first.setdefault(copy.synthetic_id, copy.person))
        parent[own] = other
    return sum(person == above for person, above in parent.items())


@dataclass(frozen=True)
class OverlapFinding:
    """A control person who is also in the training set, and was removed from the control set."""

    control_person: str
    """Label of the control person."""
    control_id: str
    """The control image."""
    training_person: str
    """Label of the training person."""
    training_id: str
    """The training image that it is."""
    same: SameImage
    """`bytes`: the files are equal. `pixels`: the decoded images are equal. `near-duplicate`: the images are so similar
    that one is made from the other."""


@dataclass(frozen=True)
class ModelScore:
    """What one of several face models measures on a pair."""

    model: str
    """Name of the model."""
    cosine: float
    """Cosine similarity of the two embeddings of this model."""
    p: Probability
    """Share of control people whose best pair scores as high by this model alone (conformal p-value)."""


@dataclass(frozen=True)
class ChannelScore:
    """What one channel measures for a person, independently of the other channels."""

    channel: ChannelName
    """Name of the channel."""
    score: float
    """Score of the person's best pair in this channel, on the scale that all channels share."""
    cosine: float
    """Cosine similarity of that pair."""
    p: Probability
    """Share of control people who score as high in this channel (conformal p-value)."""
    q: Probability
    """The p-values of all training people in this channel, adjusted as ``q`` of a person."""
    synthetic_id: str
    """The synthetic image of the pair."""
    training_id: str
    """The training image of the pair."""


@dataclass(frozen=True)
class IdentityMatch:
    """The synthetic identity whose mean vector gives a person's score, and how many of its images agree."""

    identity: str
    """Label of the synthetic identity."""
    n_images: int
    """Number of its images."""
    n_agreeing: int
    """Number of its images whose closest of all training and control people, in this channel, is the person."""
    cosine: float
    """Cosine similarity of the mean vector of the identity and the training image of the pair."""


@dataclass(frozen=True)
class PersonFinding:
    """One training person and the pair of images that exposes the person most."""

    person: str
    """Label of the training person."""
    score: float
    """Score of the best pair over all channels: 0 is the median of real people and 15% are below -1.

    Both are estimated from the lowest 30%.
    """
    cosine: float
    """Cosine similarity of that pair in its channel."""
    synthetic_id: str
    """The synthetic image of the pair."""
    training_id: str
    """The training image of the pair."""
    n_images: int
    """Number of the person's images that were compared."""
    channel: ChannelName
    """The channel in which the pair has its score."""
    identity: IdentityMatch | None = None
    """The synthetic identity whose mean vector gives the score. The pair then shows its closest image. Null if a single
    synthetic image gives the score."""
    p: Probability | None = None
    """Share of control people who score as high (conformal p-value). Without a control set: the probability that chance
    brings synthetic images as close to anybody. Null if the person was not tested."""
    q: Probability | None = None
    """The conformal p-values adjusted by Benjamini and Hochberg, with Storey's estimate of the share of people whom
    chance explains: the false discovery rate at which the person becomes significant. It is the share of false people
    among the people up to this one. Without a control set nothing is estimated."""
    p_gpd: Probability | None = None
    """The p-value from a generalised Pareto distribution (GPD) fitted to the highest scores of control people, or of
    searches without a control set."""
    q_gpd: Probability | None = None
    """The GPD p-values adjusted by Benjamini and Hochberg."""
    significant_by: tuple[Evidence, ...] = ()
    """What makes the person significant: tests, or a copy of an image. Empty if the person is not."""
    p_cosine: Probability | None = None
    """Conformal p-value of the uncorrected cosine, the score of the published attack. It decides nothing."""
    q_cosine: Probability | None = None
    """The p-values of the uncorrected cosine, adjusted as ``q``. They decide nothing."""
    resamples_significant: int | None = None
    """Number of resamples in which the person is significant."""
    models: tuple[ModelScore, ...] = ()
    """What each face model measures on the pair, if there are several."""
    channels: tuple[ChannelScore, ...] = ()
    """What each channel measures for the person, if there are several."""
    kind: PairKind | None = None
    """Kind of leak. Null if it was not determined."""

    @property
    def lowest_q(self) -> float | None:
        """The lower of both q-values, by which the person becomes significant; None if the person was not tested."""
        return min((q for q in (self.q, self.q_gpd) if q is not None), default=None)


@dataclass(frozen=True)
class IdentityFinding:
    """One synthetic identity and its best match among training and control people."""

    identity: str
    """Label of the synthetic identity, or the image's id if the synthetic set has no labels."""
    score: float
    """Score of the best match."""
    q: Probability | None
    """False discovery rate at which the identity becomes significant. Null if identities were not tested."""
    n_images: int
    """Number of images of the identity."""
    n_agreeing: int
    """Number of its images whose own best match is the same person."""
    synthetic_id: str
    """The synthetic image of the best match."""
    training_id: str | None
    """The training image of the best match. Null if a control person matches better."""
    channel: ChannelName
    """The channel in which the match has its score."""
    significant: bool
    """Whether the identity is significant."""
    duplicate_of: str | None = None
    """The identity that matches the same training person better. Only that one can be significant. Null without a
    control set."""
    q_gpd: Probability | None = None
    """Without a control set: the same from the GPD tail."""


@dataclass(frozen=True)
class PairFinding:
    """One pair of a ranking of pairs."""

    rank: int
    """Rank of the pair, from 1."""
    synthetic_id: str
    """The synthetic image."""
    training_id: str
    """The training image."""
    person: str
    """Label of the training person."""
    cosine: float
    """Cosine similarity of the pair."""
    score: float
    """The value that the ranking is sorted by."""
    channel: ChannelName
    """The channel in which the pair has its score."""
    kind: PairKind | None = None
    """Kind of leak if the pair shows one person. Null if it was not determined."""


@dataclass(frozen=True)
class HubnessFinding:
    """A training image that is the best match of several synthetic images."""

    training_id: str
    """The training image."""
    person: str
    """Label of its person."""
    n_best_match_of: int
    """Number of synthetic images whose best match it is."""
    in_top_pairs: int
    """Number of pairs with it among `top_pairs`."""
