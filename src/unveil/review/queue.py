"""Which pairs a reviewer sees, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unveil.analysis.review_pairs import ReviewPair


class ReviewQueue:
    """The pairs of a run as reviewers go through them.

    Openly: findings first, surest first, without control pairs. Blind: everything with the control pairs mixed in, in
    an order of each reviewer's own that stays the same whenever they come back.
    """

    def __init__(
        self, pairs: Sequence[ReviewPair], *, blind: bool = False, findings_only: bool = False, seed: int = 0
    ) -> None:
        real = [p for p in pairs if p.role == "training" and (p.significant or not findings_only)]
        control = [p for p in pairs if p.role == "control"] if blind else []
        self.pairs: list[ReviewPair] = [*real, *control[: max(1, len(real))]]
        self.blind = blind
        self._seed = seed

    def order(self, reviewer: str) -> list[int]:
        """Places in ``pairs``, in the order in which this reviewer sees them."""
        if not self.blind:
            return list(range(len(self.pairs)))
        shuffled: list[int] = (
            np.random.default_rng([self._seed, *reviewer.encode()]).permutation(len(self.pairs)).tolist()
        )
        return shuffled
