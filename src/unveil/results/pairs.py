"""The tables of a run that reviewers and later steps read, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unveil.types import Role

ReviewReason = Literal["exposed person", "synthetic identity", "closest pair", "control"]


@dataclass(frozen=True)
class ReviewPair:
    """A synthetic and a real image, and why reviewers see them; ``significant`` pairs are findings.

    ``agreement`` says in words how many images of the synthetic identity agree, where a whole identity is the evidence.
    """

    why: ReviewReason
    synthetic_id: str
    real_id: str
    role: Role
    person: str
    cosine: float
    score: float
    significant: bool
    agreement: str


@dataclass(frozen=True)
class ClosestImage:
    """A synthetic image and the training image with the highest score by any channel."""

    id: str
    identity: str
    score: float
    training_id: str
    person: str
    channel: str
    memorisation: float
    """Distance to the nearest training image by the first channel, divided by the mean distance to the stored matches;
    0 is a copy."""
