"""What reviewers decided about the pairs of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unveil.types import Estimate, Role

Outcome = Literal["leak", "no leak", "undecided"]


@dataclass(frozen=True)
class PairVerdicts:
    """The verdicts of all reviewers on one pair."""

    synthetic_id: str
    """The synthetic image."""
    real_id: str
    """The training or control image."""
    role: Role
    """The role of the real image. Control pairs measure the reviewers."""
    person: str
    """Label of the real person."""
    significant: bool
    """Whether the pair is a finding of the audit."""
    same_image: int
    """Number of reviewers who decided: the same image."""
    same_person: int
    """Number of reviewers who decided: the same person."""
    different: int
    """Number of reviewers who decided: different people."""
    cannot_tell: int
    """Number of reviewers who could not decide."""

    @property
    def confirmed(self) -> int:
        """Number of reviewers who decided that the pair is a leak."""
        return self.same_image + self.same_person

    @property
    def decided(self) -> int:
        """Number of reviewers who decided."""
        return self.confirmed + self.different

    @property
    def outcome(self) -> Outcome:
        """The decision of more than half of the reviewers who decided."""
        if 2 * self.confirmed > self.decided:
            return "leak"
        return "no leak" if 2 * self.different > self.decided else "undecided"


@dataclass(frozen=True)
class Agreement:
    """Agreement of two reviewers."""

    reviewers: tuple[str, str]
    """The two reviewers."""
    kappa: Estimate
    """Cohen's kappa over the pairs that both decided."""


@dataclass(frozen=True)
class Review:
    """The verdicts of all reviewers."""

    reviewers: tuple[str, ...]
    """Names of the reviewers."""
    n_verdicts: int
    """Number of verdicts that count."""
    n_blind: int
    """Number of these given blind: without scores, with control pairs among the findings."""
    n_findings: int
    """Number of findings of the audit."""
    pairs: tuple[PairVerdicts, ...]
    """The pairs with a verdict."""
    reviewer_precision: Estimate | None
    """Share of decided findings that most reviewers confirm as leaks. Null if none was decided."""
    reviewer_false_positive_rate: Estimate | None
    """Share of decided control pairs that most reviewers call one person. Null if none was decided."""
    cohen: tuple[Agreement, ...]
    """Agreement of each two reviewers."""
    krippendorff: Estimate | None
    """Krippendorff's alpha over all reviewers. Null if it is not defined."""
