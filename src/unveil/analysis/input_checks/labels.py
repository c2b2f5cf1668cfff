"""Labels: whether the images of one label show one person."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unveil.analysis.cohort import mated_pairs
from unveil.analysis.input_checks.base import SAMPLE, EmbeddedSets, InputCheck
from unveil.compare import exact_cosine
from unveil.stats.checks import MIN_LABEL_PAIRS, Check, Status, label_closeness
from unveil.stats.hubness import person_codes
from unveil.stats.statements import ALL_BUT_FACTS, OF_IMAGES, Statement
from unveil.types import Embedded, Estimate, Floats, Role

# One half is what random labels give.
WARN, FAIL = 0.8, 0.6
# With fewer labels that have two images, each gives several pairs. Labels such as a sex or a class are few, and their
# images are a little closer than others. Those of a person are closer in nearly all cases.
FEW, FAIL_FEW = 30, 0.8
# Pairs of two sets are less close than pairs of one set.
FAIL_ONE = 0.9
OTHER: dict[Role, Role] = {"training": "control", "control": "training"}
# Tests of training people do not use synthetic labels. The label link does not use control people.
BLOCKS: dict[Role, tuple[Statement, ...]] = {
    "synthetic": ("label link", "identities"),
    "training": ALL_BUT_FACTS,
    "control": OF_IMAGES,
}


class Labels(InputCheck[EmbeddedSets]):
    """Whether two images of one label are closer than images of two labels, as those of one person are."""

    def run(self, inputs: EmbeddedSets) -> Iterator[Check]:
        """One outcome for each role with enough labels that have two images, or with few labels of many images."""
        for role, source in inputs.sets.items():
            mated, non_mated = _mated_and_non_mated(source.embedded, inputs.rng)
            check = self.outcome(role, mated, non_mated)
            if role in OTHER and len(mated) < FEW:
                other = inputs.sets[OTHER[role]].embedded if OTHER[role] in inputs.sets else None
                # The draws of later checks do not depend on this one.
                (rng,) = inputs.rng.spawn(1)
                check = self.outcome_of_few(role, source.embedded, other, non_mated, rng) or check
            if check is not None:
                yield check

    def outcome_of_few(
        self, role: Role, embedded: Embedded, other: Embedded | None, non_mated: Floats, rng: np.random.Generator
    ) -> Check | None:
        """The outcome for a role with few labels, from many pairs of each; None where most images have no such label.

        Where nearly all images have one label, they are compared with those of the ``other`` real set: a column that is
        the same everywhere makes one person of all people.
        """
        mated = _many_mated(embedded, rng)
        if len(non_mated) >= MIN_LABEL_PAIRS or other is None or not len(other):
            return None if mated is None else self.outcome(role, mated, non_mated, FAIL_FEW)
        rows, others = rng.integers(len(embedded), size=SAMPLE), rng.integers(len(other), size=SAMPLE)
        figure = (
            None
            if mated is None
            else label_closeness(mated, exact_cosine(embedded.vectors, other.vectors, rows, others))
        )
        if figure is None:
            return None
        message = (
            f"one {role} label has nearly all images, and in {figure.value:.0%} of cases two of them are closer than "
            f"one of them and a {OTHER[role]} image"
        )
        return _check(role, "fail" if figure.value < FAIL_ONE else "pass", figure, message)

    def outcome(self, role: Role, mated: Floats, non_mated: Floats, fail: float = FAIL) -> Check | None:
        """The outcome for one role, from cosines of pairs with one label and with two; None where there are too few."""
        figure = label_closeness(mated, non_mated)
        if figure is None:
            return None
        status: Status = "fail" if figure.value < fail else "warn" if figure.value < WARN else "pass"
        message = f"in {figure.value:.0%} of cases two images of one {role} label are closer than images of two labels"
        return _check(role, status, figure, message)


def _check(role: Role, status: Status, figure: Estimate, message: str) -> Check:
    if status != "pass":
        message += f"; the labels may not be people: see --{role}-labels"
    return Check(f"labels of {role}", status, figure, message, BLOCKS[role])


def _many_mated(embedded: Embedded, rng: np.random.Generator) -> Floats | None:
    """Cosines (M,) of SAMPLE pairs of images with one label, as many of each; None where most images have none."""
    _, codes = person_codes(embedded.people_or_ids)
    sizes = np.bincount(codes)
    if sizes[sizes > 1].sum() * 2 < len(codes):
        return None
    order = np.lexsort((rng.random(len(codes)), codes))
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Each image is in one pair at most.
    first = np.flatnonzero((place % 2 == 0) & (place + 1 < sizes[codes[order]]))
    first = first[place[first] // 2 < max(1, SAMPLE // int((sizes > 1).sum()))]
    return exact_cosine(embedded.vectors, embedded.vectors, order[first], order[first + 1])


def _mated_and_non_mated(embedded: Embedded, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Cosines of two random images of one label (M,) and of two labels (N,), for at most SAMPLE labels."""
    _, codes = person_codes(embedded.people_or_ids)
    vectors = embedded.vectors
    mated = exact_cosine(vectors, vectors, *mated_pairs(embedded.people_or_ids, rng, SAMPLE))
    a, b = rng.integers(len(codes), size=(2, SAMPLE))
    different = codes[a] != codes[b]
    return mated, exact_cosine(vectors, vectors, a[different], b[different])
