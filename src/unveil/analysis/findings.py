"""What the judging steps hand back to the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.matching import Subsample
from unveil.analysis.scores import RealSide
from unveil.results.audit import Calibration, CandidateThreshold, IdentityFinding, PersonFinding
from unveil.stats.input_checks import Check
from unveil.stats.verdict import Evidence, Verdict
from unveil.types import Embedded, Exposure


@dataclass(frozen=True)
class ControlState:
    """The control people on whom an audit stands: what planted leaks are measured with."""

    control: RealSide
    draw: Subsample


@dataclass(frozen=True)
class Findings:
    """The verdict and everything it was made from; either ``calibration`` or ``line`` may be there, never both."""

    verdict: Verdict
    evidence: tuple[Evidence, ...]
    checks: tuple[Check, ...]
    people: tuple[PersonFinding, ...]
    identities: tuple[IdentityFinding, ...]
    training: RealSide
    contexts: Mapping[str, ChannelContext]
    calibration: Calibration | None = None
    line: CandidateThreshold | None = None
    control_pairs: int = 0
    ground: ControlState | None = None

    @property
    def significant_people(self) -> tuple[PersonFinding, ...]:
        """Training people listed by any basis, most exposed first."""
        return tuple(p for p in self.people if p.significant_by)

    def without_findings(self) -> Findings:
        """The same, listing nobody: what a run without a verdict may say."""
        return replace(
            self,
            people=tuple(replace(person, significant_by=()) for person in self.people),
            identities=tuple(replace(identity, significant=False) for identity in self.identities),
        )


def best_pair(exposed: Exposure, i: int, synthetic: Embedded, training: RealSide) -> PersonFinding:
    """The i-th person's best pair, not judged."""
    query, row = exposed.best_pair[i]
    return PersonFinding(
        person=exposed.people[i],
        score=float(exposed.score[i]),
        cosine=float(exposed.cosine[i]),
        synthetic_id=synthetic.ids[query],
        training_id=training.images.ids[row],
        channel=list(training.by_channel)[exposed.channel[i]],
        n_images=int(exposed.n_images[i]),
    )
