"""Labels: whether the images of one label show one person."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unveil.analysis.cohort import mated_pairs
from unveil.analysis.input_checks.base import SAMPLE, EmbeddedSets, InputCheck
from unveil.compare import exact_cosine
from unveil.stats.checks import Check, Status, label_closeness
from unveil.stats.hubness import person_codes
from unveil.stats.statements import ALL_BUT_FACTS, OF_IMAGES, Statement
from unveil.types import Embedded, Floats, Role

# One half is what random labels give.
WARN, FAIL = 0.8, 0.6
# Tests of training people do not use synthetic labels. The label link does not use control people.
BLOCKS: dict[Role, tuple[Statement, ...]] = {
    "synthetic": ("label link", "identities"),
    "training": ALL_BUT_FACTS,
    "control": OF_IMAGES,
}


class Labels(InputCheck[EmbeddedSets]):
    """Whether two images of one label are closer than images of two labels, as those of one person are."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each role with enough labels that have two images."""
        for role, source in inputs.sets.items():
            check = self.outcome(role, *_mated_and_non_mated(source.embedded, inputs.rng))
            if check is not None:
                yield check

    def outcome(self, role: Role, mated: Floats, non_mated: Floats) -> Check | None:
        """The outcome for one role, from cosines of pairs with one label and with two; None where there are too few."""
        figure = label_closeness(mated, non_mated)
        if figure is None:
            return None
        status: Status = "fail" if figure.value < FAIL else "warn" if figure.value < WARN else "pass"
        message = f"in {figure.value:.0%} of cases two images of one {role} label are closer than images of two labels"
        if status != "pass":
            message += f"; the labels may not be people: see --{role}-labels"
        return Check(f"labels of {role}", status, figure, message, BLOCKS[role])


def _mated_and_non_mated(embedded: Embedded, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Cosines of two random images of one label (M,) and of two labels (N,), for at most SAMPLE labels."""
    _, codes = person_codes(embedded.people_or_ids)
    vectors = embedded.vectors
    mated = exact_cosine(vectors, vectors, *mated_pairs(embedded.people_or_ids, rng, SAMPLE))
    a, b = rng.integers(len(codes), size=(2, SAMPLE))
    different = codes[a] != codes[b]
    return mated, exact_cosine(vectors, vectors, a[different], b[different])
