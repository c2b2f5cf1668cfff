"""How many findings of a list are expected to be false."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from unveil.stats.statements import Evidence

FACTS: frozenset[Evidence] = frozenset({"exact copy"})


def found_by_tests(significant_by: Iterable[Collection[Evidence]]) -> int:
    """The number of findings that rest on a test, from the evidence for each: facts are never false."""
    return sum(bool(set(evidence) - FACTS) for evidence in significant_by)


def expected_false(fdr: float, n_findings: int) -> float:
    """The number of findings expected to be false: the false discovery rate times their number, without facts.

    Adjusted p-values bound the mean share of false findings over all audits, those that find nobody included. Among
    audits that find somebody the mean can be higher where most find nobody: `benchmarks/exposed_share.py` measures it.
    """
    return fdr * n_findings
