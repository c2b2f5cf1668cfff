"""Real pictures of one side, training or control, and what the comparisons with the synthetic set say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.comparisons import Comparison, Comparisons
from unveil.stats.exposure import exposures
from unveil.stats.hubness import person_codes
from unveil.stats.score_scale import ScoreScale, max_over_channels
from unveil.types import Embedded, Exposure, Floats, Ints, Matches, Role

COSINE = "cosine"


@dataclass(frozen=True)
class ChannelMatches:
    """What one channel sees of the pictures (G,): their hub correction and hub-corrected matches with the synthetic
    set, and the scale on which its scores meet those of other channels."""

    correction: Floats
    corrected: Matches
    standard: ScoreScale

    @cached_property
    def score(self) -> Floats:
        """The best score of each picture (G,) on the channel's scale."""
        return self.standard.of(self.corrected.best_query_score)


@dataclass(frozen=True)
class RealSide:
    """Real pictures, their raw matches by the first channel, and what every channel sees of them."""

    images: Embedded
    raw: Matches
    by_channel: Mapping[str, ChannelMatches]

    @cached_property
    def people(self) -> tuple[tuple[str, ...], Ints]:
        """The people, and the code (N,) of each picture's person."""
        return person_codes(self.images.people_or_ids)

    @cached_property
    def _best(self) -> tuple[Ints, Floats]:
        """Which channel sees each picture (N,) closest to a synthetic one, and that score (N,)."""
        return max_over_channels([sight.score for sight in self.by_channel.values()])

    @property
    def score(self) -> Floats:
        """The best score of each picture (N,) over all channels."""
        return self._best[1]

    @cached_property
    def closest(self) -> tuple[Ints, Floats, Ints]:
        """Of each synthetic picture (Q,) the closest picture of this side: its row, the score, the channel that sees
        it."""
        each = self.by_channel.values()
        channel, score = max_over_channels([sight.standard.of(sight.corrected.score[:, 0]) for sight in each])
        row = np.asarray(np.choose(channel, [sight.corrected.rows[:, 0] for sight in each]), np.int64)
        return row, score, channel

    def exposure(self, rows: Ints | None = None, by: str | None = None) -> Exposure:
        """Each person's best pair over the given rows: by one channel, by the raw ``cosine`` of the first, or by
        whichever channel comes closest."""
        people = self.images.people_or_ids
        if by is None:
            channel, score = self._best
            each = [sight.corrected for sight in self.by_channel.values()]
            query = np.asarray(np.choose(channel, [m.best_query for m in each]), np.int64)
            cosine = np.asarray(np.choose(channel, [m.best_query_cosine for m in each]), np.float64)
            return exposures(people, query, score, cosine, channel, rows)
        matches = self.raw if by == COSINE else self.by_channel[by].corrected
        score = matches.best_query_score if by == COSINE else self.by_channel[by].score
        channel = np.full(len(people), 0 if by == COSINE else list(self.by_channel).index(by), np.int64)
        return exposures(people, matches.best_query, score, matches.best_query_cosine, channel, rows)


def score_side(
    role: Role, images: Embedded, raw: Matches, contexts: Mapping[str, ChannelContext], compare: Comparisons, depth: int
) -> RealSide:
    """Compares the synthetic set with a side's pictures through every channel."""
    by_channel = {}
    for channel, lens in contexts.items():
        own = images.through(channel)
        correction = lens.cohort.correction(own)
        # The closest pairs of all are shown of training people alone.
        compared = compare.ranked if role == "training" else compare.matches
        corrected = compared(
            *(Comparison("hub-corrected", channel, role), lens.synthetic, own, lens.on_synthetic, correction),
            top_k=depth,
        )
        by_channel[channel] = ChannelMatches(correction, corrected, lens.standard)
    return RealSide(images, raw, by_channel)
