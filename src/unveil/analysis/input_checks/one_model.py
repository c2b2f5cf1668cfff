"""One model: whether embeddings that were given can come from one model."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import EmbeddedSets, InputCheck
from unveil.stats.checks import Check, shared_directions
from unveil.stats.intervals import NORMAL
from unveil.stats.statements import AGAINST_CONTROL, NONE_DETECTED, Statement
from unveil.types import Estimate, Role

# Standard deviations of two sets that are turned at random. With 512 dimensions one is .0028, and sets of one model,
# generated and photographed, have a correlation of at least .139.
UNRELATED = 6
# What is false if a set comes from another model than the training set: closeness is not measured, so nobody is found.
BLOCKS: dict[Role, tuple[Statement, ...]] = {"synthetic": (NONE_DETECTED,), "control": AGAINST_CONTROL}


class OneModel(InputCheck[EmbeddedSets]):
    """Whether the vectors of a set spread in the directions of the training set, as those of one model do."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each set beside the training set, where vectors were given and directions can be seen."""
        training = inputs.sets["training"]
        for role in BLOCKS:
            if role in inputs.sets and "embeddings" in (inputs.sets[role].kind, training.kind):
                figure = shared_directions(inputs.samples[role], inputs.samples["training"])
                if figure is not None:
                    yield self.outcome(role, figure)

    def outcome(self, role: Role, figure: Estimate) -> Check:
        """The outcome for one role, from `shared_directions` with the training set."""
        related = figure.value >= UNRELATED * (figure.high - figure.value) / NORMAL
        found = f"the embeddings of the {role} and of the training set spread in "
        message = (
            f"{found}the same directions (correlation {figure.value:.2f})"
            if related
            else f"{found}unrelated directions (correlation {figure.value:.2f}), as those of two models do; embed both "
            "sets with one model, and change its vectors in no way"
        )
        return Check(f"one model for {role}", "pass" if related else "fail", figure, message, BLOCKS[role])
