"""Spread: whether the embeddings of a role have collapsed."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import EmbeddedSets, InputCheck
from unveil.stats.checks import Check, Status, relative_spread, spread
from unveil.stats.statements import NONE_DETECTED, OF_IMAGES, Statement
from unveil.types import Estimate, Role

# Relative to the training set; correct inputs measured 0.8 to 1.2.
WARN, FAIL = 0.7, 0.5
# Of any set by itself; dlib's model, the narrowest in the table of models, measures 0.15.
COLLAPSED = 0.03


class Spread(InputCheck[EmbeddedSets]):
    """Whether different people of a role have nearly the same vector, as badly cropped images do."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each role."""
        training = spread(inputs.samples["training"])
        for role, sample in inputs.samples.items():
            yield self.outcome(role, spread(sample), relative_spread(sample, training, inputs.rng))

    def outcome(self, role: Role, own: float, figure: Estimate) -> Check:
        """The outcome for one role, from its own spread and the spread relative to the training set."""
        ratio = figure.value
        status: Status = "fail" if ratio < FAIL or own < COLLAPSED else "warn" if ratio < WARN else "pass"
        message = f"the mean distance (1 - cosine) between different {role} people is {own:.3f}"
        if role != "training":
            message += f", {ratio:.2f} times that between training people"
        if status != "pass":
            message += "; look at some crops: a wrong --aligned, empty images or very few identities cause this"
        # A generator that reproduces few people has a narrow synthetic set: that is no reason to doubt a finding.
        blocks: tuple[Statement, ...] = ("identities", NONE_DETECTED) if role == "synthetic" else OF_IMAGES
        return Check(f"spread of {role}", status, figure, message, blocks)
