"""From findings to the one word at the top, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unveil.stats.input_checks import Check

Verdict = Literal["leak found", "none detected", "candidates", "inconclusive"]
Basis = Literal["global test", "counted", "modelled tail", "identities", "leave-person-out line"]


def calibrated_verdict(
    checks: Sequence[Check],
    global_p: float,
    global_level: float,
    n_counted: int,
    n_modelled: int,
    n_identities: int,
) -> tuple[Verdict, tuple[Basis, ...]]:
    """The verdict with a control set: any basis suffices, a failed check outweighs them all."""
    bases: list[Basis] = []
    if global_p <= global_level:
        bases.append("global test")
    if n_counted:
        bases.append("counted")
    if n_modelled:
        bases.append("modelled tail")
    if n_identities:
        bases.append("identities")
    if any(check.status == "fail" for check in checks):
        return "inconclusive", ()
    return ("leak found", tuple(bases)) if bases else ("none detected", ())


def uncalibrated_verdict(checks: Sequence[Check], n_candidates: int | None) -> tuple[Verdict, tuple[Basis, ...]]:
    """The verdict without one: candidates and never more; inconclusive without labels (``n_candidates`` None)."""
    if n_candidates is None or any(check.status == "fail" for check in checks):
        return "inconclusive", ()
    return ("candidates" if n_candidates else "none detected"), ("leave-person-out line",)
