"""The records of an overlap: which people and images two sets of real faces share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from unveil.choices import SetName
from unveil.results.audit import RoleCounts
from unveil.results.findings import SameImage
from unveil.types import Estimate, Probability, Reject

OVERLAP_SCHEMA_VERSION = 1

OverlapEvidence = Literal["same image", "face"]


@dataclass(frozen=True)
class SharedImage:
    """An image of A that is an image of B: a fact, not a test. Each shared image of either set occurs at least once."""

    a_id: str
    """The image of A."""
    a_person: str | None
    """Label of its person, if it has one."""
    b_id: str
    """The image of B."""
    b_person: str | None
    """Label of its person, if it has one."""
    same: SameImage
    """`bytes`: the files are equal. `pixels`: the decoded images are equal. `near-duplicate`: the images are so similar
    that one is made from the other."""
    cosine: float | None
    """Cosine similarity of the two faces. Null where a file was rejected."""


@dataclass(frozen=True)
class PeoplePair:
    """A person of A and a person of B, by their closest images. In a set without labels, an image is a person."""

    a_person: str
    """The person of A."""
    b_person: str
    """The person of B."""
    evidence: tuple[OverlapEvidence, ...]
    """Why they are one person. `same image`: they share an image. `face`: their faces match at the threshold. Empty for
    a pair below the threshold, which is listed to be looked at."""
    cosine: float | None
    """Cosine similarity of their closest images. Null where a shared file was rejected."""
    a_id: str
    """The closest image of A."""
    b_id: str
    """The closest image of B."""
    mutual: bool
    """Whether each is the closest person of the other set to the other."""
    shared_images: int
    """Number of images of the person of A that are images of the person of B."""
    expected_false: float | None
    """Number of pairs of different people that are expected to be as close or closer by chance. Null where it was not
    measured, as for all but the closest pairs."""
    q: Probability | None
    """Expected share of different people among the pairs that match by face alone and are as close or closer. Null
    for people who share an image, and where it was not measured."""


@dataclass(frozen=True)
class MatchThreshold:
    """The cosine from which two people match by face, and what it costs."""

    cosine: float
    """The cosine."""
    why: str
    """Why it is this one."""
    false_match_rate: Estimate | None
    """Share of comparisons of two different people that reach it (ISO/IEC 19795-1), each by their closest images. Null
    where no set has enough people to measure it, and for a stated cosine below those that were measured."""
    expected_false: Estimate | None
    """Number of pairs of different people that are expected to reach it: the rate times the pairs of people."""
    expected_false_counted: float | None
    """The same by counting alone, without a model of the tail. People whom a set names twice count as false."""
    measured_on: tuple[SetName, ...]
    """The sets whose different people were compared with each other to measure it."""
    upper_limit: bool
    """Whether the rate is too high rather than too low, because no set has labels: images of one person inside a set
    then count as false matches."""


@dataclass(frozen=True)
class Shared:
    """How much of one set is in the other."""

    people: int
    """Number of people of this set who are in the other, by a shared image or by face."""
    people_by_image: int
    """Those of them with a shared image."""
    people_in_set: int
    """Number of people in this set. An image without a label counts as a person of its own."""
    images: int
    """Number of images of this set that are images of the other."""
    images_in_set: int
    """Number of files in this set."""
    removed: int
    """Number of files that `--remove` leaves out of this set."""


@dataclass(frozen=True, kw_only=True)
class OverlapResult:
    """Which people and images two sets of real faces share. It contains no times, so that the same sets give the same
    bytes. Images are named by their path or key in their set."""

    schema_version: int = OVERLAP_SCHEMA_VERSION
    """Version of this format."""
    headline: str
    """The result in a few sentences."""
    counts: dict[SetName, RoleCounts]
    """What became of the files of each set."""
    labelled: dict[SetName, bool]
    """Whether the images of a set have labels of people. Where they have none, an image counts as a person."""
    shared: dict[SetName, Shared]
    """How much of each set is in the other."""
    threshold: MatchThreshold | None
    """From which cosine two people match by face. Null where no threshold is known: then only images are shared."""
    pairs_compared: int
    """Number of pairs of images that were compared: all."""
    pairs_of_people: int
    """Number of pairs of a person of A and a person of B."""
    images: tuple[SharedImage, ...]
    """The shared images."""
    people: tuple[PeoplePair, ...]
    """The shared people, those with a shared image first, then the closest first."""
    candidates: tuple[PeoplePair, ...]
    """The closest pairs of people that do not match, the closest first."""
    rejects: dict[SetName, tuple[Reject, ...]]
    """Files that were not embedded. They are compared by their bytes alone."""
    limitations: tuple[str, ...]
    """What the result does not say."""
    models: tuple[dict[str, Any], ...]
    """The face model."""
    manifest: dict[str, Any]
    """What is needed to repeat it: settings, inputs with hashes, versions, machine."""
