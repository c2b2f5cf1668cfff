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
            different = source.n_different_rejects
            files = different, different + source.embedded.digests.n_distinct()
            yield self.outcome(role, len(source.rejects), source.n_images, different=files)

    def outcome(self, role: Role, n_rejected: int, n_images: int, *, different: tuple[int, int] | None = None) -> Check:
        """The outcome for one role; a role without images fails.

        ``different`` are both numbers where files that repeat another one count once: repeats hide no further leak,
        and many of them would make the share of rejects small.
        """
        once = different or (n_rejected, n_images)
        figure = share(*once, "share of different files rejected")
        value = figure.value if n_images else 1.0
        # No leak is hidden by a control image that is not compared.
        status: Status = grade(value, HIDES, HALF if role == "control" else HIDES)
        message = f"{n_rejected} of {n_images} {role} files could not be read or gave no face"
        if once != (n_rejected, n_images):
            message += f" ({once[0]} of {once[1]} different ones)"
        if status != "pass":
            hidden = "" if role == "control" else ", and a leak among them is not found"
            message += f"{hidden}; see rejects.parquet for the reasons"
        # What was not compared cannot be declared free of leaks. Findings among the rest stay true.
        blocks: tuple[Statement, ...] = (NONE_DETECTED,)
        if role == "synthetic" and value >= HALF:
            blocks = ("identities", NONE_DETECTED)
        return Check(f"rejects of {role}", status, figure, message, blocks)
