"""The verdict, and the evidence for it.

Each statement needs certain inputs. An input check that fails blocks only the statements that it makes unreliable:
`docs/explanation/verdict.md` has the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from unveil.choices import AuditVerdict
from unveil.stats.checks import Check
from unveil.stats.statements import NONE_DETECTED, WITHOUT_CONTROL, Evidence, Statement


def blocked(checks: Iterable[Check]) -> frozenset[Statement]:
    """The statements that failed checks make unreliable."""
    return frozenset(statement for check in checks if check.status == "fail" for statement in check.invalidates)


def calibrated_evidence(
    global_p: float, global_level: float, n_conformal: int, n_gpd: int, n_identities: int, n_learned: int = 0
) -> tuple[Evidence, ...]:
    """The evidence that tests against control people give, before failed checks are applied."""
    found: dict[Evidence, bool] = {
        "global test": global_p <= global_level,
        "conformal": n_conformal > 0,
        "GPD tail": n_gpd > 0,
        "identities": n_identities > 0,
        "learned score": n_learned > 0,
    }
    return tuple(name for name, holds in found.items() if holds)


def calibrated_verdict(
    checks: Sequence[Check], found: Collection[Evidence]
) -> tuple[AuditVerdict, tuple[Evidence, ...]]:
    """The verdict with a control set, and the evidence that no failed check blocks."""
    unreliable = blocked(checks)
    evidence = tuple(name for name in found if name not in unreliable)
    if evidence:
        return "leak found", evidence
    return ("inconclusive" if NONE_DETECTED in unreliable else "none detected"), ()


def search_verdict(
    checks: Sequence[Check], found: Collection[Evidence] | None
) -> tuple[AuditVerdict, tuple[Evidence, ...]]:
    """The verdict without a control set, and the evidence that no failed check blocks.

    ``found`` is None where chance is unknown: too few training people have labels.
    """
    unreliable = blocked(checks)
    if found is None:
        return "inconclusive", ()
    evidence = tuple(name for name in found if name not in unreliable)
    if evidence:
        return "leak indicated (no control set)", evidence
    if NONE_DETECTED in unreliable or unreliable.issuperset(WITHOUT_CONTROL):
        return "inconclusive", ()
    return "none detected (no control set)", ()
