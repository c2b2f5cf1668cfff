"""Prognostic score: whether real images alone predict different exposures of training and control people."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import SAME_SOURCE, ControlPeople, InputCheck
from unveil.stats.balance import SHIFT_WARN
from unveil.stats.checks import Check, grade
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import Estimate

# In standard deviations. A shift of 0.25 nearly doubles the people above a threshold that 1% exceed.
FAIL = 0.25


class PrognosticScore(InputCheck[ControlPeople]):
    """Whether training people would be more, or less, exposed than control people for reasons other than membership."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome, where the balance was measured."""
        balance = inputs.balance
        if balance is not None and balance.prognostic_shift is not None:
            yield self.outcome(
                balance.prognostic_shift,
                balance.prognostic_shift_before,
                balance.training_not_tested,
                balance.control_not_used,
            )

    def outcome(self, figure: Estimate, before: Estimate | None, n_not_tested: int, n_not_used: int) -> Check:
        """The outcome for a shift; a shift whose interval holds 0 passes. ``before`` is the shift before matching."""
        differs = figure.low * figure.high > 0
        status = grade(abs(figure.value), SHIFT_WARN, FAIL) if differs else "pass"
        size = f"{abs(figure.value):.2f}"
        predicted = (
            "training people are as exposed as control people (less than 0.01 standard deviations apart)"
            if size == "0.00"
            else f"training people are {size} standard deviations {'more' if figure.value > 0 else 'less'} exposed "
            "than control people"
        )
        message = f"their real images alone predict that {predicted}"
        if before is not None:
            message += (
                f" ({abs(before.value):.2f} before control people were matched; {n_not_used} control people are not "
                f"used, {n_not_tested} training people are not tested)"
            )
        if status != "pass":
            message += "; " + SAME_SOURCE
        return Check("prognostic score", status, figure, message, AGAINST_CONTROL)
