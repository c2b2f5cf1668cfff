"""Comparable people: training people with too few comparable control people."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import SAME_SOURCE, ControlPeople, InputCheck
from unveil.stats.checks import Check, grade
from unveil.stats.intervals import share
from unveil.stats.statements import AGAINST_CONTROL

WARN, FAIL = 0.1, 0.9


class ComparablePeople(InputCheck[ControlPeople]):
    """Whether many training people were not tested since too few control people are comparable with them."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome, where the balance was measured."""
        balance = inputs.balance
        if balance is not None and (balance.prognostic_shift is not None or balance.training_not_tested):
            yield self.outcome(balance.training_not_tested, balance.training_people)

    def outcome(self, n_not_tested: int, n_people: int) -> Check:
        """The outcome for a number of training people."""
        figure = share(n_not_tested, n_people, "share of training people without comparable control people")
        status = grade(figure.value, WARN, FAIL)
        message = (
            f"{n_not_tested} of {n_people} training people have too few comparable control people and were not tested"
        )
        if status != "pass":
            message += "; " + SAME_SOURCE
        return Check("comparable control people", status, figure, message, AGAINST_CONTROL)
