"""The input checks of an audit, one file each, in the order of the report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unveil.analysis.input_checks.base import ControlPeople, EmbeddedSets, InputCheck
from unveil.analysis.input_checks.classifier import Classifier
from unveil.analysis.input_checks.closeness import Closeness
from unveil.analysis.input_checks.comparable_people import ComparablePeople
from unveil.analysis.input_checks.control_size import ControlSize
from unveil.analysis.input_checks.duplicates import Duplicates
from unveil.analysis.input_checks.identical_images import IdenticalImages
from unveil.analysis.input_checks.labels import Labels
from unveil.analysis.input_checks.one_model import OneModel
from unveil.analysis.input_checks.overlap import TrainingOverlap
from unveil.analysis.input_checks.prognostic_score import PrognosticScore
from unveil.analysis.input_checks.rejects import Rejects
from unveil.analysis.input_checks.spread import Spread
from unveil.analysis.overlap import Overlap
from unveil.embedding.embed import EmbeddedSource
from unveil.results import Balance
from unveil.stats.checks import Check
from unveil.types import Role

__all__ = ["CONTROL_CHECKS", "SET_CHECKS", "ControlPeople", "EmbeddedSets", "InputCheck", "check_control", "check_sets"]

SET_CHECKS: tuple[InputCheck[EmbeddedSets], ...] = (
    Rejects(),
    Spread(),
    OneModel(),
    Duplicates(),
    IdenticalImages(),
    Labels(),
)
CONTROL_CHECKS: tuple[InputCheck[ControlPeople], ...] = (
    TrainingOverlap(),
    ControlSize(),
    Closeness(),
    PrognosticScore(),
    ComparablePeople(),
    Classifier(),
)


def check_sets(sets: Mapping[Role, EmbeddedSource], rng: np.random.Generator) -> list[Check]:
    """The checks of each set by itself, before anything is compared."""
    inputs = EmbeddedSets(sets, rng)
    return [outcome for check in SET_CHECKS for outcome in check.run(inputs)]


def check_control(overlap: Overlap, n_people: int, balance: Balance | None) -> list[Check]:
    """The checks of the control people against the training people."""
    inputs = ControlPeople(overlap, n_people, balance)
    return [outcome for check in CONTROL_CHECKS for outcome in check.run(inputs)]
