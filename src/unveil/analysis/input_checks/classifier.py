"""Classifier: whether training and control people can be separated without the synthetic set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unveil.analysis.input_checks.base import SAME_SOURCE, ControlPeople, InputCheck
from unveil.stats.checks import Check, grade
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import Estimate

# The lower limit of the AUC. At 0.9 almost nobody of one side has comparable people on the other.
WARN, FAIL = 0.6, 0.9


class Classifier(InputCheck[ControlPeople]):
    """Whether a classifier that never sees the synthetic set separates training from control people."""

    def run(self, inputs: ControlPeople) -> Iterator[Check]:
        """One outcome, where the balance was measured."""
        balance = inputs.balance
        if balance is not None and balance.classifier_auc is not None:
            yield self.outcome(balance.classifier_auc, balance.image_quality)

    def outcome(self, figure: Estimate, quality: Mapping[str, Estimate]) -> Check:
        """The outcome for an AUC; the message names the feature that differs most."""
        status = grade(figure.low, WARN, FAIL)
        message = (
            "a classifier that never sees the synthetic set separates training from control people with AUC "
            f"{figure.value:.2f} (0.5 is chance)"
        )
        if status != "pass":
            name, largest = max(quality.items(), key=lambda item: abs(item[1].value))
            message += f"; they differ most in {name} ({abs(largest.value):.1f} standard deviations); {SAME_SOURCE}"
        return Check("classifier without the synthetic set", status, figure, message, AGAINST_CONTROL)
