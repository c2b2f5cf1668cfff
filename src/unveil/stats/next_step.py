"""What an audit cannot state, and the one step that would help most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from unveil.choices import AuditVerdict
from unveil.stats.checks import Check
from unveil.stats.statements import AGAINST_CONTROL, WITHOUT_CONTROL, Statement
from unveil.stats.verdict import blocked

# Verdicts that lack no statement which the user has to get first.
COMPLETE: tuple[AuditVerdict, ...] = ("leak found", "none detected")
OTHER_CONTROL = (
    "--control",
    "Give another control set: people whom the generator never saw, from the same source as the training set, cropped "
    "in the same way.",
)
REJECTED = (
    "Read rejects.parquet: it gives the reason for each {} file. Repair the files, set --aligned, or leave them out of "
    "the set with --exclude."
)
ONE_MODEL = "Embed the {} and the training images with one model (unveil embed), and change its vectors in no way."
# Option and action for each check that can block a statement, by the start of its name. Of several failed checks that
# block equally many statements, the first in this order decides: later ones often follow from earlier ones.
REMEDIES: dict[str, tuple[str, str]] = {
    "one model for synthetic": ("--synthetic", ONE_MODEL.format("synthetic")),
    "one model for control": ("--control", ONE_MODEL.format("control")),
    "rejects of training": ("--aligned", REJECTED.format("training")),
    "rejects of synthetic": ("--aligned", REJECTED.format("synthetic")),
    "rejects of control": ("--aligned", "Read rejects.parquet: it gives the reason for each control file."),
    "spread of training": (
        "--aligned",
        "Look at some training images as the model sees them (unveil inspect) and set --aligned.",
    ),
    "spread of control": (
        "--aligned",
        "Look at some control images as the model sees them (unveil inspect) and set --aligned.",
    ),
    "labels of training": ("--training-labels", "Give the rule or file that says who is on each training image."),
    "labels of control": ("--control-labels", "Give the rule or file that says who is on each control image."),
    "shared files of training": ("--training", "Give the training set without the files that many people share."),
    "overlap of training": OTHER_CONTROL,
    "size of control": (
        "--control",
        "Give a larger control set: people whom the generator never saw, from the same source as the training set.",
    ),
    "closeness": OTHER_CONTROL,
    "prognostic score": OTHER_CONTROL,
    "comparable control people": OTHER_CONTROL,
    "classifier": OTHER_CONTROL,
    "control images in synthetic": (
        "--control",
        "Give another control set: some images of this one are in the synthetic set.",
    ),
    "control people in synthetic": (
        "--control",
        "Give another control set, or this one without the people with the highest scores in exposures.parquet: they "
        "are closer to the synthetic set than chance explains.",
    ),
    "spread of synthetic": (
        "--aligned",
        "Look at some synthetic images as the model sees them (unveil inspect) and set --aligned.",
    ),
    "labels of synthetic": (
        "--synthetic-labels",
        "Give the rule or file that says which identity is on each synthetic image.",
    ),
    "improbable pairs": (
        "--exclude",
        "Review the improbable pairs (unveil review), and exclude the copies among them.",
    ),
    "near-duplicates": ("--exclude", "Review the closest pairs (unveil review), and exclude the copies among them."),
    "training images in synthetic": ("--exclude", "Remove these images from the synthetic set and audit it again."),
}
NO_CONTROL = (
    "--control",
    "Give a control set: people whom the generator never saw, from the same source as the training set.",
)
OR_WITHOUT = " Or leave --control out: the training people are then searched among each other."
NO_LABELS = REMEDIES["labels of training"]


@dataclass(frozen=True)
class NextStep:
    """What is missing, and what to do first."""

    missing: tuple[Statement, ...]
    """The statements that this audit could not make."""
    option: str
    """The option of `unveil audit` that supplies what is missing."""
    action: str
    """What to do, in a sentence."""


def next_step(
    verdict: AuditVerdict, checks: Sequence[Check], *, has_control: bool, training_labelled: bool
) -> NextStep | None:
    """The missing statements and the step that makes most of them possible; None for a verdict that lacks none."""
    if verdict in COMPLETE:
        return None
    failed = [check for check in checks if check.status == "fail" and check.invalidates]
    missing = set(blocked(checks))
    if not has_control:
        missing |= set(AGAINST_CONTROL) - {"none detected"}
        if not training_labelled:
            missing |= set(WITHOUT_CONTROL)
    order = list(REMEDIES)
    first = min(failed, key=lambda c: (-len(c.invalidates), order.index(_remedy(c))), default=None)
    if first is not None and (has_control or len(first.invalidates) > len(AGAINST_CONTROL)):
        option, action = REMEDIES[_remedy(first)]
        if has_control and training_labelled and option == "--control":
            action += OR_WITHOUT
    else:
        option, action = NO_CONTROL if not has_control else NO_LABELS
    known: tuple[Statement, ...] = get_args(Statement)
    return NextStep(tuple(s for s in known if s in missing), option, action)


def _remedy(check: Check) -> str:
    """The key of the remedy of a check."""
    return next(name for name in REMEDIES if check.name.startswith(name))
