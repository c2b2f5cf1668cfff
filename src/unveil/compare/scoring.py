"""Exact cosines of many pairs at once, by several threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.compare.exact import PairScorer, UnitRows
from unveil.engine import map_ordered
from unveil.types import Floats, Ints

PAIRS_PER_CALL = 4096


@dataclass(frozen=True)
class ParallelScorer:
    """Divides the pairs of a call among threads."""

    score: PairScorer
    threads: int

    def __call__(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        if len(q) <= PAIRS_PER_CALL:
            return self.score(queries, gallery, q, g)

        def part(start: int) -> Floats:
            return self.score(queries, gallery, q[start : start + PAIRS_PER_CALL], g[start : start + PAIRS_PER_CALL])

        return np.concatenate(list(map_ordered(part, range(0, len(q), PAIRS_PER_CALL), self.threads)))
