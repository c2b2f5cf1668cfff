"""Overlap: control people who are also in the training set."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import ControlPeople, InputCheck
from unveil.analysis.overlap import Overlap
from unveil.stats.checks import Check, grade
from unveil.stats.intervals import exact_count
from unveil.stats.statements import AGAINST_CONTROL

WARN, FAIL = 0.05, 0.5


class TrainingOverlap(InputCheck[ControlPeople]):
    """Whether many control people are members; they are removed from the control set."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome."""
        yield self.outcome(inputs.overlap)

    def outcome(self, overlap: Overlap) -> Check:
        """The outcome, from what was removed."""
        n, total = len(overlap.removed), overlap.n_people_before
        message = f"{n} of {total} control people have an image that is in the training set"
        if n:
            message += f"; they were removed, with {overlap.n_images} images"
        figure = exact_count(n, total, "control people also in the training set")
        return Check(
            "overlap of training and control",
            grade(n / total if total else 0.0, WARN, FAIL),
            figure,
            message,
            AGAINST_CONTROL,
        )
