"""Identical images: synthetic images that are training or control images byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

from unveil.analysis.input_checks.base import EmbeddedSets, InputCheck
from unveil.columns import Texts
from unveil.stats.checks import Check, Status
from unveil.stats.intervals import exact_count
from unveil.stats.statements import NONE_DETECTED
from unveil.types import Role


class IdenticalImages(InputCheck[EmbeddedSets]):
    """Whether the synthetic set holds real images. Control images must be unknown to the generator."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for the training and one for the control set."""
        synthetic = inputs.sets["synthetic"].embedded.digests
        for role, source in inputs.sets.items():
            if role != "synthetic":
                yield self.outcome(role, synthetic, source.embedded.digests)

    def outcome(self, role: Role, synthetic: Texts, real: Texts) -> Check:
        """The outcome for one real role, from the digests of both sets."""
        n = int(synthetic.are_in(real).sum())
        message = f"{n} synthetic images are {role} images byte for byte"
        status: Status = "pass"
        if n:
            status = "fail" if role == "control" else "warn"
        if n and role == "control":
            message += "; use a control set that is unknown to the generator"
        figure = exact_count(n, len(synthetic), f"synthetic images that are {role} images")
        # Control people who are in the synthetic set raise the bar for training people: findings stay true.
        return Check(f"{role} images in synthetic", status, figure, message, (NONE_DETECTED,))
