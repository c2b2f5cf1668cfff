"""Checks of the inputs, made before any verdict: what would make a leak of nothing, or hide one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.types import Floats, Vectors

Status = Literal["pass", "warn", "fail"]

# 1 - mean cosine between different people, relative to the training set's; undisturbed sets measured .8 to 1.2.
NARROW_WARN, NARROW_FAIL = 0.7, 0.5
# The same for a training set alone: dlib's network, the narrowest in the table, measures .15.
COLLAPSED = 0.03
# Cohen's d between training and control people of how close they are to the cohort; random halves measured below .1.
MISMATCH_WARN, MISMATCH_FAIL = 0.2, 0.5
REJECTED_WARN, REJECTED_FAIL = 0.05, 0.5
FEWEST_CONTROL_PEOPLE = 60


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it came out, in figures and in a sentence that says what to do."""

    name: str
    status: Status
    value: float
    message: str


def graded(value: float, warn: float, fail: float) -> Status:
    """pass below ``warn``, fail from ``fail`` on."""
    return "fail" if value >= fail else "warn" if value >= warn else "pass"


def spread(sample: Vectors) -> float:
    """1 - mean cosine between different rows (N, D) of a sample, one picture a person."""
    n = len(sample)
    if n < 2:
        return 1.0
    total = np.asarray(sample, np.float64).sum(0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def check_spread(role: str, own: float, training: float) -> Check:
    """Whether a role's embeddings have collapsed: badly cropped pictures all look alike, and like everybody."""
    ratio = own / training if training > 0 else 0.0
    status: Status = "fail" if ratio < NARROW_FAIL or own < COLLAPSED else "warn" if ratio < NARROW_WARN else "pass"
    told = f"different {role} people lie {own:.2f} apart on average (1 - cosine), {ratio:.2f} of the training people"
    if status != "pass":
        told += "; look at some crops: wrong --aligned, empty pictures or very few identities do this"
    return Check(f"spread of {role}", status, ratio, told)


def check_rejects(role: str, rejected: int, images: int) -> Check:
    """How much of a role was not embedded."""
    part = rejected / images if images else 1.0
    status = graded(part, REJECTED_WARN, REJECTED_FAIL)
    told = f"{rejected} of {images} {role} files gave no face"
    return Check(
        f"rejects of {role}", status, part, told + ("" if status == "pass" else "; see rejects for the reasons")
    )


def check_duplicates(role: str, digests: Sequence[str]) -> Check:
    """Byte-identical pictures within a role."""
    extra = sum(n - 1 for n in Counter(digests).values())
    return Check(
        f"duplicates in {role}",
        "warn" if extra else "pass",
        extra,
        f"{extra} of {len(digests)} {role} pictures repeat another byte for byte",
    )


def check_shipped(name: str, synthetic: Sequence[str], real: Sequence[str]) -> Check:
    """Synthetic pictures that are byte-identical to a real one."""
    known = set(real)
    n = sum(d in known for d in synthetic)
    if name == "control":
        status: Status = "fail" if n else "pass"
        told = f"{n} synthetic pictures are control pictures byte for byte"
        told += "; a control set must be unknown to the generator: give another one" if n else ""
    else:
        status = "warn" if n else "pass"
        told = f"{n} synthetic pictures are {name} pictures byte for byte"
    return Check(f"{name} pictures in synthetic", status, n, told)


def check_labels(role: str, mated: Floats, others: Floats) -> Check | None:
    """Whether pictures with one label show one person: mated cosines (M,) against cosines to other people (N,)."""
    if len(mated) < 10 or len(others) < 10:
        return None
    apart = float(np.mean(mated[:, None] > np.quantile(others, np.linspace(0.005, 0.995, 100))[None]))
    status: Status = "fail" if apart < 0.6 else "warn" if apart < 0.8 else "pass"
    told = f"a picture is closer to another of its {role} label than to a stranger in {apart:.0%} of cases"
    if status != "pass":
        told += f"; the labels may not be people: see --{role}-identity"
    return Check(f"labels of {role}", status, apart, told)


def check_overlap(pictures: int, people: int, all_people: int, line: float | None) -> Check:
    """People on both sides, who were taken out of the control set."""
    part = people / all_people if all_people else 0.0
    how = "by identical bytes" if line is None else f"by identical bytes or a cosine above {line:.3f}"
    told = (
        f"{people} of {all_people} control people ({pictures} pictures) are also in the training set {how}; taken out"
    )
    return Check("overlap of training and control", graded(part, 0.05, 0.5), people, told)


def check_control_size(people: int) -> Check:
    """Whether there are control people enough to calibrate on."""
    status: Status = "fail" if people < FEWEST_CONTROL_PEOPLE else "warn" if people < 500 else "pass"
    told = f"{people} control people stand for what chance does"
    if status != "pass":
        told += (
            f"; at least {FEWEST_CONTROL_PEOPLE} are needed, and the smallest leak that can be shown shrinks with more"
        )
    return Check("size of control", status, people, told)


def check_mismatch(training: Floats, control: Floats) -> Check:
    """Whether training and control people differ otherwise than by membership: Cohen's d of closeness to the cohort."""
    pooled = np.sqrt((training.var() + control.var()) / 2) if len(training) and len(control) else 0.0
    d = abs(float((training.mean() - control.mean()) / pooled)) if pooled > 0 else 0.0
    status = graded(d, MISMATCH_WARN, MISMATCH_FAIL)
    told = (
        f"training and control people differ by {d:.2f} standard deviations in how close they are to other real people"
    )
    if status != "pass":
        told += "; the control set should come from the same source, with the same cropping, as the training set"
    return Check("likeness of training and control", status, d, told)
