"""Closeness: whether training and control people are equally close to other real people."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import SAME_SOURCE, ControlPeople, InputCheck
from unveil.analysis.matching import CLOSENESS
from unveil.stats.checks import Check, grade
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import Estimate

# Cohen's d; random halves of one set measured below 0.1.
WARN, FAIL = 0.2, 0.5


class Closeness(InputCheck[ControlPeople]):
    """Whether training and control people differ in their closeness to the cohort, which no leak can change."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome, where the balance was measured."""
        if inputs.balance is not None and CLOSENESS in inputs.balance.image_quality:
            yield self.outcome(inputs.balance.image_quality[CLOSENESS])

    def outcome(self, figure: Estimate) -> Check:
        """The outcome for a standardised difference."""
        status = grade(abs(figure.value), WARN, FAIL)
        message = (
            f"training and control people differ by {abs(figure.value):.2f} standard deviations in how close they are "
            "to other real people"
        )
        if status != "pass":
            message += "; " + SAME_SOURCE
        return Check("closeness to other people", status, figure, message, AGAINST_CONTROL)
