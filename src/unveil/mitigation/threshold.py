"""The score that no synthetic image may reach, for cleaning and for the guard."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from unveil.choices import LEAK
from unveil.errors import SettingError
from unveil.results import AuditResult
from unveil.stats.outliers import without_outliers
from unveil.stats.statements import FACTS
from unveil.types import Floats

# The checks that fail where control people may be in the synthetic set.
CONTROL_SEEN = ("control people in synthetic", "control images in synthetic")
_FPR = re.compile(r"fpr:(0?\.\d+|\d+e-\d+)")


@dataclass(frozen=True)
class MitigationThreshold:
    """A score on the scale of an audit, and the reason for it. Images that reach the score are affected."""

    score: float
    why: str


@dataclass(frozen=True)
class ControlScores:
    """The scores (C,) of control people, highest first, from which a threshold can come.

    ``n_left_out`` others score higher than chance among control people explains: the generator may have seen them, and
    a threshold as high as theirs lets copies pass.
    """

    scores: Floats
    n_left_out: int

    @property
    def note(self) -> str:
        """How many control people were left out, in brackets behind a statement; empty if none was."""
        people = "control person who scores" if self.n_left_out == 1 else "control people who score"
        return f" (without {self.n_left_out} {people} higher than chance explains)" if self.n_left_out else ""


def control_scores(result: AuditResult, rule: str) -> ControlScores:
    """The scores of control people for the threshold that ``rule`` names.

    Raises SettingError without a control set, and if a check found control people in the synthetic set: how many of
    them it did not find is not known.
    """
    if result.exposures is None:
        raise SettingError(
            f"--threshold {rule}: expected an audit with a control set, found one without. Use significant or a score"
        )
    seen = [c for c in result.input_checks if c.status == "fail" and c.name in CONTROL_SEEN]
    if seen:
        raise SettingError(
            f"--threshold {rule}: expected control people whom the generator never saw, found the failed check "
            f"{seen[0].name!r}: the threshold would be as high as copies score. Audit with other control people, or "
            "name a score with --threshold"
        )
    every = result.exposures.control.score
    scores = without_outliers(every)
    return ControlScores(scores, len(every) - len(scores))


def mitigation_threshold(result: AuditResult, rule: str = "significant") -> MitigationThreshold:
    """The threshold that ``rule`` names: ``significant``, ``control``, ``fpr:SHARE`` or a score.

    Raises SettingError if the audit has no such threshold. Control people who score like copies decide none.
    """
    if rule == "significant":
        return _significant(result)
    if rule == "control" or _FPR.fullmatch(rule):
        control = control_scores(result, rule)
        n = len(control.scores)
        if rule == "control":
            why = f"above the highest score of {n} control people{control.note}"
            return MitigationThreshold(_above(float(control.scores[0])), why)
        k = int(float(rule.removeprefix("fpr:")) * n)
        if k < 1:
            raise SettingError(
                f"--threshold {rule}: expected a share of at least one control person, found less than one of {n}. Use "
                "control"
            )
        return MitigationThreshold(float(control.scores[k - 1]), f"{k} of {n} control people reach it{control.note}")
    if not is_score(rule):
        raise SettingError(
            f"--threshold: expected significant, control, fpr:SHARE (such as fpr:0.01) or a score, found {rule!r}"
        )
    return MitigationThreshold(float(rule), "as set by the user")


def is_score(rule: str) -> bool:
    """Whether a rule is a score that the user chose, rather than one that an audit gives."""
    try:
        return bool(np.isfinite(float(rule)))
    except ValueError:
        return False


def _significant(result: AuditResult) -> MitigationThreshold:
    """The lowest score of a significant person or identity."""
    people = [p.score for p in result.significant_people if set(p.significant_by) - FACTS]
    scores = [*people, *(i.score for i in result.synthetic_identities if i.significant)]
    if scores:
        return MitigationThreshold(min(scores), "the lowest score of a significant person or identity")
    if result.copies:
        return MitigationThreshold(float("inf"), "only copies are removed: no test finds a person significant")
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
