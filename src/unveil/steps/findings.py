"""What the judging steps hand back to the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unveil.result import Calibration, CandidateLine, IdentityFinding, PersonFinding
from unveil.stats.hygiene import Check
from unveil.stats.verdict import Basis, Verdict
from unveil.steps.likeness import Draw
from unveil.steps.prepare import Lens
from unveil.steps.sides import Side
from unveil.types import Embedded, Exposure


@dataclass(frozen=True)
class Ground:
    """The control people on whom an audit stands: what planted leaks are measured with."""

    control: Side
    draw: Draw


@dataclass(frozen=True)
class Findings:
    """The verdict and everything it was made from; either ``calibration`` or ``line`` may be there, never both."""

    verdict: Verdict
    rests_on: tuple[Basis, ...]
    checks: tuple[Check, ...]
    people: tuple[PersonFinding, ...]
    identities: tuple[IdentityFinding, ...]
    training: Side
    lenses: Mapping[str, Lens]
    calibration: Calibration | None = None
    line: CandidateLine | None = None
    control_pairs: int = 0
    ground: Ground | None = None

    @property
    def listed_people(self) -> tuple[PersonFinding, ...]:
        """Training people listed by any basis, most exposed first."""
        return tuple(p for p in self.people if p.listed_by)

    def without_findings(self) -> Findings:
        """The same, listing nobody: what a run without a verdict may say."""
        return replace(
            self,
            people=tuple(replace(person, listed_by=()) for person in self.people),
            identities=tuple(replace(identity, listed=False) for identity in self.identities),
        )


def best_pair(exposed: Exposure, i: int, synthetic: Embedded, training: Side) -> PersonFinding:
    """The i-th person's best pair, not judged."""
    query, row = exposed.best_pair[i]
    return PersonFinding(
        person=exposed.people[i],
        score=float(exposed.score[i]),
        cosine=float(exposed.cosine[i]),
        synthetic_id=synthetic.ids[query],
        training_id=training.pictures.ids[row],
        channel=list(training.sights)[exposed.channel[i]],
        n_images=int(exposed.n_images[i]),
    )
