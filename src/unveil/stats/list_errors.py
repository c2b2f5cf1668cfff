"""How many findings of a list are expected to be false."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from unveil.stats.statements import FACTS, Evidence


def expected_false(fdr: float, significant_by: Iterable[Collection[Evidence]]) -> float:
    """The number of findings expected to be false, from the evidence for each.

    It is the false discovery rate times the number of those that a test finds. Facts are never false: a test finds many
    of them as well, so the number is at most that of the other findings.

    Adjusted p-values bound the mean share of false findings over all audits, those that find nobody included. Among
    audits that find somebody the mean can be higher where most find nobody: `benchmarks/exposed_share.py` measures it.
    """
    found = [set(evidence) for evidence in significant_by if evidence]
    by_tests = sum(bool(evidence - FACTS) for evidence in found)
    return min(fdr * by_tests, sum(not evidence & FACTS for evidence in found))
