"""Rejects: the share of a role that was not embedded."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import EmbeddedSets, InputCheck
from unveil.stats.checks import Check, Status, grade
from unveil.stats.intervals import share
from unveil.stats.power import FOUND
from unveil.stats.statements import NONE_DETECTED, Statement
from unveil.types import Role

# A leak needs both of its images. From this share on, fewer than FOUND of all leaks can be found, however clear.
HIDES = 1 - FOUND
# Of any set: more than half of the files are not what was meant.
HALF = 0.5


class Rejects(InputCheck[EmbeddedSets]):
    """Whether many files of a role were rejected: a leak among them is not found."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each role."""
        for role, source in inputs.sets.items():
            yield self.outcome(role, len(source.rejects), source.n_images)

    def outcome(self, role: Role, n_rejected: int, n_images: int) -> Check:
        """The outcome for one role; a role without images fails."""
        figure = share(n_rejected, n_images, "share of files rejected")
        value = figure.value if n_images else 1.0
        # No leak is hidden by a control image that is not compared.
        status: Status = grade(value, HIDES, HALF if role == "control" else HIDES)
        message = f"{n_rejected} of {n_images} {role} files could not be read or gave no face"
        if status != "pass":
            hidden = "" if role == "control" else ", and a leak among them is not found"
            message += f"{hidden}; see rejects.parquet for the reasons"
        # What was not compared cannot be declared free of leaks. Findings among the rest stay true.
        blocks: tuple[Statement, ...] = (NONE_DETECTED,)
        if role == "synthetic" and value >= HALF:
            blocks = ("identities", NONE_DETECTED)
        return Check(f"rejects of {role}", status, figure, message, blocks)
