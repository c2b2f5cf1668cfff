"""Duplicates: byte-identical images within a role."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import EmbeddedSets, InputCheck
from unveil.columns import Texts
from unveil.stats.checks import Check
from unveil.stats.intervals import exact_count
from unveil.types import Role


class Duplicates(InputCheck[EmbeddedSets]):
    """Whether images of a role repeat another byte for byte."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each role."""
        for role, source in inputs.sets.items():
            yield self.outcome(role, source.embedded.digests)

    def outcome(self, role: Role, digests: Texts) -> Check:
        """The outcome for one role."""
        n_repeats = len(digests) - digests.n_distinct()
        return Check(
            f"duplicates in {role}",
            "warn" if n_repeats else "pass",
            exact_count(n_repeats, len(digests), "images that repeat another"),
            f"{n_repeats} of {len(digests)} {role} images repeat another byte for byte"
            + ("; they are counted once" if n_repeats and role == "synthetic" else ""),
        )
