"""The risks that data protection law names, as far as an audit measures them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unveil.stats.statements import Evidence
from unveil.types import Estimate, Probability

Criterion = Literal["singling out", "linkability", "inference"]


@dataclass(frozen=True)
class PrivacyRisk:
    """One criterion of Opinion 05/2014 on anonymisation techniques (WP216), measured by an attack."""

    criterion: Criterion
    """The criterion."""
    assessed: bool
    """Whether the risk was measured. If not, it may be high or low."""
    not_assessed_because: str | None
    """Why the risk was not measured. Null if it was."""
    meaning: str
    """What the attack tries, in plain words."""
    assumption: str
    """What must hold for the numbers to be right."""
    attack: Estimate | None = None
    """Share of training people against whom the attack succeeds. Null if not assessed."""
    control: Estimate | None = None
    """Share of control people against whom the same attack succeeds. Null if not assessed."""
    baseline: Estimate | None = None
    """Success of guessing without the synthetic set. Null if not assessed."""
    risk: Estimate | None = None
    """(attack - control) / (1 - control): the success that only the generator explains. Null if not assessed."""


@dataclass(frozen=True)
class HighestRisk:
    """The training person who is exposed most. It says what was measured, and not that the person is a member."""

    person: str
    """Label of the person."""
    score: float
    """Score of the person's best pair."""
    control_as_close: Estimate | None
    """Share of control people whose score is as high. Null without reliable control people."""
    q: Probability | None
    """The smaller of the person's two q-values. Null if the person was not tested."""
    significant_by: tuple[Evidence, ...]
    """What makes the person significant. Empty if the person is not."""
