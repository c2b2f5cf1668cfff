"""Checks of the inputs, made before any verdict: what would make a leak of nothing, or hide one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.stats.intervals import LEVEL, NORMAL, exact_count, share
from unveil.types import Estimate, Floats, Vectors

Status = Literal["pass", "warn", "fail"]

# 1 - mean cosine between different people, relative to the training set's; undisturbed sets measured .8 to 1.2.
NARROW_WARN, NARROW_FAIL = 0.7, 0.5
# The same for a training set alone: dlib's network, the narrowest in the table, measures .15.
COLLAPSED = 0.03
# Cohen's d between training and control people of how close they are to the cohort; random halves measured below .1.
MISMATCH_WARN, MISMATCH_FAIL = 0.2, 0.5
# Difference of foretold exposures in standard deviations. A shift of .25 nearly doubles the people above a line of 1%.
SHIFT_WARN, SHIFT_FAIL = 0.1, 0.25
# Area at which training and control people are told apart without the synthetic set. At .9 hardly anybody of one side
# has a like on the other.
CLASSIFIER_WARN, CLASSIFIER_FAIL = 0.6, 0.9
REJECTED_WARN, REJECTED_FAIL = 0.05, 0.5
MIN_CONTROL_PEOPLE = 60

SAME_SOURCE = "the control set should come from the same source, with the same cropping, as the training set"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it came out, in a figure and in a sentence that says what to do."""

    name: str
    status: Status
    figure: Estimate
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


def spread_estimate(sample: Vectors, training: float, rng: np.random.Generator) -> Estimate:
    """The spread of a sample (N, D), one picture a person, relative to the training set's, with a bootstrap."""
    own = spread(sample)
    scale = training if training > 0 else 1.0
    wide = np.asarray(sample, np.float64)
    n = len(wide)
    drawn = []
    for _ in range(200 if n > 1 else 0):
        times = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        total, alone = times @ wide, float(times @ times)
        # A picture drawn twice is no pair of different people.
        if alone < n * n:
            drawn.append(float(1 - (total @ total - alone) / (n * n - alone)))
    low, high = (float(v) for v in np.quantile(drawn or [own], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    method = "1 - mean cosine of different people, of the training set's; percentile bootstrap over people"
    return Estimate(own / scale, min(low, own) / scale, max(high, own) / scale, LEVEL, n, method)


def check_spread(role: str, own: float, figure: Estimate) -> Check:
    """Whether a role's embeddings have collapsed: badly cropped pictures all look alike, and like everybody."""
    ratio = figure.value
    status: Status = "fail" if ratio < NARROW_FAIL or own < COLLAPSED else "warn" if ratio < NARROW_WARN else "pass"
    told = f"different {role} people lie {own:.2f} apart on average (1 - cosine), {ratio:.2f} of the training people"
    if status != "pass":
        told += "; look at some crops: wrong --aligned, empty pictures or very few identities do this"
    return Check(f"spread of {role}", status, figure, told)


def check_rejects(role: str, rejected: int, images: int) -> Check:
    """How much of a role was not embedded."""
    figure = share(rejected, images, "share of files rejected")
    status = graded(figure.value if images else 1.0, REJECTED_WARN, REJECTED_FAIL)
    told = f"{rejected} of {images} {role} files gave no face"
    return Check(
        f"rejects of {role}", status, figure, told + ("" if status == "pass" else "; see rejects for the reasons")
    )


def check_duplicates(role: str, digests: Sequence[str]) -> Check:
    """Byte-identical pictures within a role."""
    extra = sum(n - 1 for n in Counter(digests).values())
    return Check(
        f"duplicates in {role}",
        "warn" if extra else "pass",
        exact_count(extra, len(digests), "pictures that repeat another"),
        f"{extra} of {len(digests)} {role} pictures repeat another byte for byte"
        + ("; they are counted once" if extra and role == "synthetic" else ""),
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
    figure = exact_count(n, len(synthetic), f"synthetic pictures that are {name} pictures")
    return Check(f"{name} pictures in synthetic", status, figure, told)


def check_labels(role: str, mated: Floats, others: Floats) -> Check | None:
    """Whether pictures with one label show one person: mated cosines (M,) against cosines to other people (N,)."""
    if len(mated) < 10 or len(others) < 10:
        return None
    each = (mated[:, None] > np.quantile(others, np.linspace(0.005, 0.995, 100))[None]).mean(1)
    apart = float(each.mean())
    half = NORMAL * float(each.std()) / np.sqrt(len(each))
    method = "share of pairs of one label that are closer than pairs of two, normal interval over labels"
    figure = Estimate(apart, max(0.0, apart - half), min(1.0, apart + half), LEVEL, len(each), method)
    status: Status = "fail" if apart < 0.6 else "warn" if apart < 0.8 else "pass"
    told = f"a picture is closer to another of its {role} label than to a stranger in {apart:.0%} of cases"
    if status != "pass":
        told += f"; the labels may not be people: see --{role}-identity"
    return Check(f"labels of {role}", status, figure, told)


def check_overlap(images: int, people: int, all_people: int, line: float | None) -> Check:
    """People on both sides, who were taken out of the control set."""
    part = people / all_people if all_people else 0.0
    how = "by identical bytes" if line is None else f"by identical bytes or a cosine above {line:.3f}"
    told = f"{people} of {all_people} control people ({images} pictures) are also in the training set {how}; taken out"
    figure = exact_count(people, all_people, "control people also in the training set")
    return Check("overlap of training and control", graded(part, 0.05, 0.5), figure, told)


def check_control_size(people: int) -> Check:
    """Whether there are control people enough to calibrate on."""
    status: Status = "fail" if people < MIN_CONTROL_PEOPLE else "warn" if people < 500 else "pass"
    told = f"{people} control people stand for what chance does"
    if status != "pass":
        told += f"; at least {MIN_CONTROL_PEOPLE} are needed, and the smallest leak that can be shown shrinks with more"
    return Check("size of control", status, exact_count(people, people, "control people"), told)


def check_mismatch(figure: Estimate) -> Check:
    """Whether training and control people differ in how close they are to the cohort (Cohen's d), which no leak can
    change."""
    status = graded(abs(figure.value), MISMATCH_WARN, MISMATCH_FAIL)
    told = (
        f"training and control people differ by {abs(figure.value):.2f} standard deviations in how close they are to "
        "other real people"
    )
    if status != "pass":
        told += "; " + SAME_SOURCE
    return Check("likeness of training and control", status, figure, told)


def check_shift(figure: Estimate, before: Estimate | None, training_not_tested: int, control_not_used: int) -> Check:
    """Whether real pictures alone foretell that training people are more, or less, exposed than control people."""
    beyond_chance = figure.low * figure.high > 0
    status = graded(abs(figure.value), SHIFT_WARN, SHIFT_FAIL) if beyond_chance else "pass"
    told = (
        f"by their real pictures alone, training people would be {abs(figure.value):.2f} standard deviations "
        f"{'more' if figure.value >= 0 else 'less'} exposed than control people"
    )
    if before is not None:
        told += (
            f", {abs(before.value):.2f} before the control people were matched ({control_not_used} of them and "
            f"{training_not_tested} training people without a like left out)"
        )
    if status != "pass":
        told += "; " + SAME_SOURCE
    return Check("foretold exposure", status, figure, told)


def check_comparable_people(set_aside: int, people: int) -> Check:
    """How many training people no control person can stand for."""
    figure = share(set_aside, people, "share of training people without a like in the control set")
    told = f"{set_aside} of {people} training people have hardly a like among the control people; not tested"
    status = graded(figure.value, 0.1, 0.9)
    return Check(
        "training people without a like", status, figure, told + ("" if status == "pass" else "; " + SAME_SOURCE)
    )


def check_classifier(figure: Estimate, quality: Mapping[str, Estimate]) -> Check:
    """Whether training people can be told from control people without looking at the synthetic set."""
    status: Status = "fail" if figure.low >= CLASSIFIER_FAIL else "warn" if figure.low >= CLASSIFIER_WARN else "pass"
    told = (
        "without the synthetic set, training people are told from control people with an area of "
        f"{figure.value:.2f} (.5: not at all, 1: always)"
    )
    if status != "pass":
        name, most = max(quality.items(), key=lambda item: abs(item[1].value))
        told += f"; they differ most in {name} ({abs(most.value):.1f} standard deviations); " + SAME_SOURCE
    return Check("told apart without the synthetic set", status, figure, told)
