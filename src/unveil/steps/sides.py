"""Real pictures of one side, training or control, and what the comparisons with the synthetic set say of them."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.stats.exposure import exposures
from unveil.types import Embedded, Exposure, Floats, Ints, Matches


@dataclass(frozen=True)
class Side:
    """Real pictures, their hub correction, and their matches with the synthetic set: raw and hub-corrected."""

    pictures: Embedded
    correction: Floats
    raw: Matches
    corrected: Matches

    def exposure(self, rows: Ints | None = None, *, raw: bool = False) -> Exposure:
        """Each person's best pair, over the given rows."""
        matches = self.raw if raw else self.corrected
        return exposures(
            self.pictures.people_or_ids, matches.best_query, matches.best_query_score, matches.best_query_cosine, rows
        )
