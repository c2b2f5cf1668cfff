"""How many findings of a list are expected to be false."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from unveil.stats.statements import Evidence

FACTS: frozenset[Evidence] = frozenset({"exact copy"})


def expected_false(fdr: float, significant_by: Sequence[Collection[Evidence]], *, calibrated: bool) -> float | None:
    """The number of findings expected to be false, at most: the false discovery rate times their number.

    ``significant_by`` is the evidence for each finding; those without any are no findings, and facts are never false.
    None if the findings are not ``calibrated``, so that no rate is known.
    """
    if not calibrated:
        return None
    return fdr * sum(bool(set(evidence) - FACTS) for evidence in significant_by)
