"""The base class of input checks, and what they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from unveil.analysis.cohort import one_image_per_person
from unveil.analysis.overlap import Overlap
from unveil.embedding.embed import EmbeddedSource
from unveil.results import Balance
from unveil.stats.checks import Check
from unveil.types import Role, Vectors

# People of each role whose images are sampled.
SAMPLE = 1000
SAME_SOURCE = "use a control set from the same source as the training set, with the same cropping"


@dataclass(frozen=True)
class EmbeddedSets:
    """The embedded images of every role, before anything is compared. Checks share one random generator, in order."""

    sets: Mapping[Role, EmbeddedSource]
    rng: np.random.Generator

    @cached_property
    def samples(self) -> dict[Role, Vectors]:
        """Vectors (N, D) of one image each of at most SAMPLE random people of each role."""
        return {
            role: s.embedded.vectors[one_image_per_person(s.embedded.people_or_ids, self.rng, SAMPLE)]
            for role, s in self.sets.items()
        }


@dataclass(frozen=True)
class ControlPeople:
    """The control people once they are cleaned, scored and matched; ``balance`` is None where nobody is left."""

    overlap: Overlap
    n_people: int
    balance: Balance | None


Inputs = TypeVar("Inputs", EmbeddedSets, ControlPeople)


class InputCheck(ABC, Generic[Inputs]):
    """One check of the inputs of an audit: what would give a finding where there is no leak, or hide one.

    To add a check, write one file in this package with a subclass of ``InputCheck[EmbeddedSets]`` (a set by itself) or
    ``InputCheck[ControlPeople]`` (training against control people). Put its thresholds into the file, with the reason
    for them. Then add an instance to ``SET_CHECKS`` or ``CONTROL_CHECKS`` in ``__init__.py``, in the order of the
    report. Each `Check` needs a name, a status, a figure with its interval, and a message: the finding first, then what
    to do. A check that can fail names the statements that it makes unreliable (`unveil.stats.statements`). For each
    statement ask: can it be false because this check fails? A check blocks nothing else.
    """

    @abstractmethod
    def run(self, inputs: Inputs) -> Iterator[Check]:
        """The outcomes: one, one for each role, or none where there is nothing to measure."""
