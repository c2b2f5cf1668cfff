"""The line that nothing may reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from unveil.errors import SettingError
from unveil.results import AuditResult

_FPR = re.compile(r"fpr:(0?\.\d+|\d+e-\d+)")


@dataclass(frozen=True)
class MitigationThreshold:
    """A score on the scale of an audit, and why it is the line. What scores as much is at it."""

    score: float
    why: str


def mitigation_threshold(result: AuditResult, told: str = "listed") -> MitigationThreshold:
    """The line that ``told`` names: ``listed``, ``control``, ``fpr:SHARE`` or a score.

    Raises SettingError where the audit has no such line.
    """
    if told == "listed":
        return _significant(result)
    if told == "control" or _FPR.fullmatch(told):
        if result.exposures is None:
            raise SettingError(f"--line {told}: the audit had no control set; use listed, or a score")
        descending = np.sort(result.exposures.control.score)[::-1]
        n = len(descending)
        if told == "control":
            return MitigationThreshold(_above(float(descending[0])), f"above the closest of {n} control people")
        k = int(float(told.removeprefix("fpr:")) * n)
        if k < 1:
            raise SettingError(f"--line {told}: of {n} control people this is less than one; use control")
        return MitigationThreshold(float(descending[k - 1]), f"reached by {k} of {n} control people")
    try:
        score = float(told)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise SettingError(f"--line should be listed, control, fpr:SHARE (as in fpr:0.01) or a score, got {told!r}")
    return MitigationThreshold(score, "as told")


def _significant(result: AuditResult) -> MitigationThreshold:
    """The lowest score of what is listed."""
    if result.candidate_threshold is not None:
        line = result.candidate_threshold
        return MitigationThreshold(
            _above(line.score), f"above what {line.fpir:.1%} of real people reach against other people"
        )
    people = [p.score for p in result.significant_people]
    scores = [*people, *(i.score for i in result.synthetic_identities if i.significant)]
    if scores:
        return MitigationThreshold(min(scores), "the lowest score of a listed person or identity")
    if result.verdict == "leak found":
        raise SettingError(
            "the audit finds a leak in the ranks as a whole and lists nobody, so it has no line of its own; choose "
            "--line control or --line fpr:0.01"
        )
    raise SettingError(
        "the audit lists nobody, so there is nothing to remove; a stricter line can be given with --line"
    )


def _above(score: float) -> float:
    return float(np.nextafter(score, np.inf))
