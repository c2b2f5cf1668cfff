"""Which pairs a reviewer sees, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unveil.results import ReviewPair


class ReviewQueue:
    """The pairs of a run in the order of review.

    An open review shows findings first, the most certain first, and no control pairs. A blind review mixes control
    pairs in. Each reviewer then gets an order of their own, which stays the same when they return.
    """

    def __init__(
        self, pairs: Sequence[ReviewPair], *, blind: bool = False, findings_only: bool = False, seed: int = 0
    ) -> None:
        training = [p for p in pairs if p.role == "training" and (p.significant or not findings_only)]
        control = [p for p in pairs if p.role == "control"] if blind else []
        self.pairs: list[ReviewPair] = [*training, *control[: max(1, len(training))]]
        self.blind = blind
        self._seed = seed

    def order(self, reviewer: str) -> list[int]:
        """Indices into ``pairs``, in the order in which this reviewer sees them."""
        if not self.blind:
            return list(range(len(self.pairs)))
        shuffled: list[int] = (
            np.random.default_rng([self._seed, *reviewer.encode()]).permutation(len(self.pairs)).tolist()
        )
        return shuffled
