"""What the judging steps hand back to the audit."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.result import Calibration, CandidateLine, IdentityFinding, PersonFinding
from unveil.stats.hygiene import Check
from unveil.stats.verdict import Basis, Verdict
from unveil.types import Matches


@dataclass(frozen=True)
class Findings:
    """The verdict and everything it was made from; either ``calibration`` or ``line`` may be there, never both."""

    verdict: Verdict
    rests_on: tuple[Basis, ...]
    checks: tuple[Check, ...]
    people: tuple[PersonFinding, ...]
    identities: tuple[IdentityFinding, ...]
    corrected: Matches
    calibration: Calibration | None = None
    line: CandidateLine | None = None
    control_pairs: int = 0
