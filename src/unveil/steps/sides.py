"""Real pictures of one side, training or control, and what the comparisons with the synthetic set say of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from unveil.stats.exposure import exposures
from unveil.stats.hubs import person_codes
from unveil.types import Embedded, Exposure, Floats, Ints, Matches


@dataclass(frozen=True)
class Side:
    """Real pictures, their hub correction, and their matches with the synthetic set: raw and hub-corrected."""

    pictures: Embedded
    correction: Floats
    raw: Matches
    corrected: Matches

    @cached_property
    def people(self) -> tuple[tuple[str, ...], Ints]:
        """The people, and the code (N,) of each picture's person."""
        return person_codes(self.pictures.people_or_ids)

    def exposure(self, rows: Ints | None = None, *, raw: bool = False) -> Exposure:
        """Each person's best pair, over the given rows."""
        matches = self.raw if raw else self.corrected
        return exposures(
            self.pictures.people_or_ids, matches.best_query, matches.best_query_score, matches.best_query_cosine, rows
        )
