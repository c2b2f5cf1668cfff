"""The score that no synthetic image may reach, for cleaning and for the guard."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from unveil.choices import LEAK
from unveil.errors import SettingError
from unveil.results import AuditResult

_FPR = re.compile(r"fpr:(0?\.\d+|\d+e-\d+)")


@dataclass(frozen=True)
class MitigationThreshold:
    """A score on the scale of an audit, and the reason for it. Images that reach the score are affected."""

    score: float
    why: str


def mitigation_threshold(result: AuditResult, rule: str = "significant") -> MitigationThreshold:
    """The threshold that ``rule`` names: ``significant``, ``control``, ``fpr:SHARE`` or a score.

    Raises SettingError if the audit has no such threshold.
    """
    if rule == "significant":
        return _significant(result)
    if rule == "control" or _FPR.fullmatch(rule):
        if result.exposures is None:
            raise SettingError(
                f"--threshold {rule}: expected an audit with a control set, found one without. Use significant or a "
                "score"
            )
        descending = np.sort(result.exposures.control.score)[::-1]
        n = len(descending)
        if rule == "control":
            return MitigationThreshold(_above(float(descending[0])), f"above the highest score of {n} control people")
        k = int(float(rule.removeprefix("fpr:")) * n)
        if k < 1:
            raise SettingError(
                f"--threshold {rule}: expected a share of at least one control person, found less than one of {n}. Use "
                "control"
            )
        return MitigationThreshold(float(descending[k - 1]), f"{k} of {n} control people reach it")
    try:
        score = float(rule)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise SettingError(
            f"--threshold: expected significant, control, fpr:SHARE (such as fpr:0.01) or a score, found {rule!r}"
        )
    return MitigationThreshold(score, "as set by the user")


def _significant(result: AuditResult) -> MitigationThreshold:
    """The lowest score of a significant person or identity."""
    people = [p.score for p in result.significant_people if p.significant_by != ("exact copy",)]
    scores = [*people, *(i.score for i in result.synthetic_identities if i.significant)]
    if scores:
        return MitigationThreshold(min(scores), "the lowest score of a significant person or identity")
    if result.exact_copies:
        return MitigationThreshold(float("inf"), "only exact copies are removed: no test finds a person significant")
    if result.verdict in LEAK:
        raise SettingError(
            "--threshold significant: expected a significant person or identity, found a leak of the whole set only. "
            "Use --threshold control, --threshold fpr:0.01 or a score"
        )
    raise SettingError(
        "--threshold: expected a significant person or identity, found none, so there is nothing to remove. "
        "Use a stricter --threshold to remove images anyway"
    )


def _above(score: float) -> float:
    return float(np.nextafter(score, np.inf))
