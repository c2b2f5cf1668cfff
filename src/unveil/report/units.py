"""What is counted: people, or images where the training images have no labels of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unveil.results import RoleCounts
from unveil.types import Role


@dataclass(frozen=True)
class Unit:
    """The word for one, and for several."""

    one: str
    many: str

    def count(self, n: float) -> str:
        """A number of them, such as 1 person or 1,200 people."""
        return f"{n:,.0f} {self.one if n == 1 else self.many}"


PEOPLE, IMAGES = Unit("person", "people"), Unit("image", "images")
IMAGES_COUNT = (
    "The training images have no labels of people. Each image counts as a person of its own, so error rates and counts "
    "are of images: several images of one person count several times."
)


def unit_of(counts: Mapping[Role, RoleCounts], role: Role = "training") -> Unit:
    """What is counted in a role: images if none of them has a label."""
    of = counts[role]
    return IMAGES if of.unlabelled == of.embedded else PEOPLE
