"""The records that the analysis returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.matching import Subsample
from unveil.analysis.scores import RealSide
from unveil.results import Calibration, CandidateThreshold, Exposures, IdentityFinding, PersonFinding
from unveil.stats.checks import Check
from unveil.stats.person_tests import PersonTests
from unveil.stats.verdict import AuditVerdict, Evidence
from unveil.types import Embedded, Exposure


@dataclass(frozen=True)
class ControlState:
    """The scored control people and the images that were tested: the null of every test and of planted leaks."""

    side: RealSide
    subsample: Subsample


@dataclass(frozen=True)
class Findings:
    """The verdict and what it follows from.

    With a control set there is a ``calibration``, without one a ``candidate_threshold`` where it could be set.
    """

    verdict: AuditVerdict
    evidence: tuple[Evidence, ...]
    checks: tuple[Check, ...]
    people: tuple[PersonFinding, ...]
    identities: tuple[IdentityFinding, ...]
    training: RealSide
    contexts: Mapping[str, ChannelContext]
    calibration: Calibration | None = None
    candidate_threshold: CandidateThreshold | None = None
    control_pairs: int = 0
    control: ControlState | None = None
    exposures: Exposures | None = None  # of the tested people
    tests: PersonTests | None = None  # of these exposures

    @property
    def significant_people(self) -> tuple[PersonFinding, ...]:
        """Training people who are significant by any evidence, most exposed first."""
        return tuple(p for p in self.people if p.significant_by)

    def without_findings(self) -> Findings:
        """The same with nobody significant, for a run without a verdict."""
        return replace(
            self,
            people=tuple(replace(person, significant_by=()) for person in self.people),
            identities=tuple(replace(identity, significant=False) for identity in self.identities),
        )


def best_pair(exposed: Exposure, i: int, synthetic: Embedded, training: RealSide) -> PersonFinding:
    """The best pair of person ``i``, without p and q."""
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
