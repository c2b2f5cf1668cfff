"""What an audit gives back: plain records, from which every report is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unveil.stats.competition import Competition
from unveil.stats.global_test import GlobalTest
from unveil.stats.hygiene import Check
from unveil.stats.tail import Tail
from unveil.stats.verdict import Basis, Verdict
from unveil.types import Estimate, Exposure, Floats, Reject, Role


@dataclass(frozen=True)
class RoleCounts:
    """Files in = embedded + rejected. A picture without a label counts as a person of its own."""

    images: int
    embedded: int
    rejected: int
    people: int
    unlabelled: int


@dataclass(frozen=True)
class PersonFinding:
    """One training person: the best pair, and how often chance would do as well. p and q need a control set."""

    person: str
    score: float
    cosine: float
    p: float | None
    q: float | None
    p_modelled: float | None
    q_modelled: float | None
    synthetic_id: str
    training_id: str
    n_images: int
    listed_by: tuple[Basis, ...]


@dataclass(frozen=True)
class IdentityFinding:
    """One synthetic identity: its best match over training and control people; q needs a control set."""

    identity: str
    score: float
    q: float | None
    n_images: int
    synthetic_id: str
    training_id: str | None  # None when a control person was closer
    listed: bool


@dataclass(frozen=True)
class PairFinding:
    """One pair of a ranking."""

    rank: int
    synthetic_id: str
    training_id: str
    person: str
    cosine: float
    score: float


@dataclass(frozen=True)
class HubFinding:
    """A training picture that is the best match of many synthetic ones."""

    training_id: str
    person: str
    n_best_match_of: int
    in_top_pairs: int


@dataclass(frozen=True)
class Membership:
    """How well one score tells training from control people."""

    score: str
    auc: Estimate
    tpr_at_fpr: dict[str, Estimate]


@dataclass(frozen=True)
class Calibration:
    """Everything that needs a control set."""

    training: Exposure
    control: Exposure
    global_test: GlobalTest
    tail: Tail | None
    competition: Competition
    membership: tuple[Membership, ...]
    fewest_counted: int
    smallest_p: float
    roc: tuple[Floats, Floats]


@dataclass(frozen=True)
class CandidateLine:
    """The line used without a control set, and how many synthetic pictures cross it."""

    score: float
    fpir: float
    n_searches: int
    n_above: int
    expected_above: float


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit. ``manifest`` holds inputs, model, settings, seeds and versions; times stand apart."""

    verdict: Verdict
    headline: str
    rests_on: tuple[Basis, ...]
    counts: dict[Role, RoleCounts]
    pairs_compared: int
    control_pairs_compared: int
    calibration: Calibration | None
    candidate_line: CandidateLine | None
    people: tuple[PersonFinding, ...]
    identities: tuple[IdentityFinding, ...]
    top_pairs: tuple[PairFinding, ...]
    top_pairs_corrected: tuple[PairFinding, ...]
    hubs: tuple[HubFinding, ...]
    hygiene: tuple[Check, ...]
    rejects: dict[Role, tuple[Reject, ...]]
    limits: tuple[str, ...]
    model: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def listed_people(self) -> tuple[PersonFinding, ...]:
        """Training people listed by any basis, most exposed first."""
        return tuple(p for p in self.people if p.listed_by)
