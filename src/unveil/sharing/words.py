"""The result of an overlap in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unveil.choices import SET_NAMES, SetName
from unveil.report.text import count, only_default_model
from unveil.results import MatchThreshold, ModelFacts, PeoplePair, Shared, SharedImage

# False pairs for each person of the smaller set, above which a part of them is not listed.
CROWDED = 0.02
# A recall that was measured (docs/figures/overlap.md).
DEFAULT_MODEL = (
    "The default model misses about half of the shared people who have only different photographs in the two sets. Use "
    "an ArcFace model with --model (unveil models list)."
)


def headline(
    people: Sequence[PeoplePair],
    images: Sequence[SharedImage],
    shared: Mapping[SetName, Shared],
    threshold: MatchThreshold | None,
    labelled: Mapping[SetName, bool],
) -> str:
    """How many people and images are shared, and how many of the people are expected to be false."""
    by_face = sum(not pair.shared_images for pair in people)
    by_image = len(people) - by_face
    sentences = [
        f"{shared['A'].images:,} of {shared['A'].images_in_set:,} images of A are images of B"
        + (f", {shared['B'].images:,} of B are images of A." if images else ".")
    ]
    if any(labelled.values()):
        sentences.append(
            f"{shared['A'].people:,} of {shared['A'].people_in_set:,} people of A are in B: "
            f"{by_image:,} pairs of people share an image, {by_face:,} match by face."
        )
    else:
        sentences.append(f"{by_face:,} {'more ' if images else ''}pairs of images match by face.")
    if threshold is None:
        sentences.append(
            "No set has enough people to measure how often different people match, so faces are ranked only."
        )
    elif by_face and threshold.expected_false is not None:
        expected = threshold.expected_false
        # With many false pairs, some are nobody's closest and are not listed.
        crowded = expected.value > CROWDED * min(one.people_in_set for one in shared.values())
        limit = "at most about" if threshold.upper_limit or crowded else "about"
        sentences.append(
            f"Of the pairs that match by face, {limit} {count(expected.value)} are expected to be different people "
            f"({count(expected.low)} to {count(expected.high)}, {expected.level:.0%} interval)."
        )
    elif by_face:
        sentences.append("How many of these are different people is not known.")
    return " ".join(sentences)


def limitations(
    threshold: MatchThreshold | None,
    labelled: Mapping[SetName, bool],
    rejected: Mapping[SetName, int],
    models: Sequence[ModelFacts],
) -> tuple[str, ...]:
    """What the result does not say, as sentences."""
    found = []
    if only_default_model(models):
        found.append(DEFAULT_MODEL)
    unlabelled = [name for name in SET_NAMES if not labelled[name]]
    if len(unlabelled) == 2:
        found.append(
            "Neither set has labels of people. Images of one person inside a set then count as false matches, so fewer "
            "pairs match than could: name a label rule with --labels if there is one."
        )
    elif unlabelled:
        found.append(f"{unlabelled[0]} has no labels of people: each of its images counts as a person.")
    if threshold is not None and threshold.false_match_rate is not None:
        found.append(
            "The number of false matches is that of different people inside "
            f"{' and '.join(threshold.measured_on)}. If people of A and B resemble each other more than that, there "
            "are more."
        )
    found.append("People who share no image and whose faces do not match at the threshold are not found.")
    found += [
        f"{rejected[name]:,} files of {name} gave no face. They are compared by their bytes alone."
        for name in SET_NAMES
        if rejected[name]
    ]
    return tuple(found)
