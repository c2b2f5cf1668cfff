"""The verdict, and the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unveil.stats.checks import Check

AuditVerdict = Literal["leak found", "none detected", "candidates", "inconclusive"]
Evidence = Literal["global test", "conformal", "GPD tail", "identities", "open-set threshold"]


def calibrated_verdict(
    checks: Sequence[Check],
    global_p: float,
    global_level: float,
    n_conformal: int,
    n_gpd: int,
    n_identities: int,
) -> tuple[AuditVerdict, tuple[Evidence, ...]]:
    """The verdict with a control set. Any evidence suffices; a failed check makes it inconclusive."""
    evidence: list[Evidence] = []
    if global_p <= global_level:
        evidence.append("global test")
    if n_conformal:
        evidence.append("conformal")
    if n_gpd:
        evidence.append("GPD tail")
    if n_identities:
        evidence.append("identities")
    if any(check.status == "fail" for check in checks):
        return "inconclusive", ()
    return ("leak found", tuple(evidence)) if evidence else ("none detected", ())


def uncalibrated_verdict(
    checks: Sequence[Check], n_candidates: int | None
) -> tuple[AuditVerdict, tuple[Evidence, ...]]:
    """The verdict without a control set: at most candidates; inconclusive without labels (``n_candidates`` None)."""
    if n_candidates is None or any(check.status == "fail" for check in checks):
        return "inconclusive", ()
    return ("candidates" if n_candidates else "none detected"), ("open-set threshold",)
