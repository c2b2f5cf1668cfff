"""Size of the control set: whether there are enough control people to calibrate on."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import ControlPeople, InputCheck
from unveil.stats.balance import MIN_CONTROL_PEOPLE
from unveil.stats.checks import Check, Status
from unveil.stats.intervals import exact_count
from unveil.stats.statements import AGAINST_CONTROL

WARN = 500


class ControlSize(InputCheck[ControlPeople]):
    """Whether there are enough control people; more of them lower the detection limit."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome."""
        yield self.outcome(inputs.n_people)

    def outcome(self, n_people: int) -> Check:
        """The outcome for a number of control people outside the overlap."""
        status: Status = "fail" if n_people < MIN_CONTROL_PEOPLE else "warn" if n_people < WARN else "pass"
        message = f"{n_people} control people calibrate the scores"
        if status == "fail":
            message += f"; at least {MIN_CONTROL_PEOPLE} are required"
        if status == "warn":
            message += f"; {WARN} or more lower the detection limit"
        return Check(
            "size of control", status, exact_count(n_people, n_people, "control people"), message, AGAINST_CONTROL
        )
