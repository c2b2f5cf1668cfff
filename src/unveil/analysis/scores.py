"""Training or control images and their scores against the synthetic set, channel by channel."""

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

# The name of the published attack's score among the names of channels.
COSINE = "cosine"


@dataclass(frozen=True)
class ChannelMatches:
    """The matches of images (G,) with the synthetic set by one channel.

    ``correction`` (G,) is the hub correction of the images; ``corrected`` are the hub-corrected matches. ``scale``
    makes the scores of several channels comparable.
    """

    correction: Floats
    corrected: Matches
    scale: ScoreScale

    @cached_property
    def score(self) -> Floats:
        """The best score (G,) of each image, on the scale."""
        return self.scale.of(self.corrected.best_query_score)


@dataclass(frozen=True)
class RealSide:
    """Training or control images (N,), their raw matches by the first channel, and their matches by every channel."""

    images: Embedded
    raw: Matches
    by_channel: Mapping[str, ChannelMatches]

    @cached_property
    def people(self) -> tuple[tuple[str, ...], Ints]:
        """The people, and the code (N,) of each image's person."""
        return person_codes(self.images.people_or_ids)

    @cached_property
    def _best(self) -> tuple[Ints, Floats]:
        """The channel (N,) with the highest score of each image, and that score (N,)."""
        return max_over_channels([matches.score for matches in self.by_channel.values()])

    @property
    def score(self) -> Floats:
        """The best score (N,) of each image over all channels."""
        return self._best[1]

    @cached_property
    def closest(self) -> tuple[Ints, Floats, Ints]:
        """The closest image of this side to each synthetic image (Q,): its row, the score, and the channel."""
        every = self.by_channel.values()
        channel, score = max_over_channels([matches.scale.of(matches.corrected.score[:, 0]) for matches in every])
        row = np.asarray(np.choose(channel, [matches.corrected.rows[:, 0] for matches in every]), np.int64)
        return row, score, channel

    def exposure(self, rows: Ints | None = None, by: str | None = None) -> Exposure:
        """The best pair of each person over the images of ``rows``, or over all.

        ``by`` names a channel, or COSINE for the raw cosine of the first channel. By default it is the channel with the
        highest score.
        """
        people = self.images.people_or_ids
        if by is None:
            channel, score = self._best
            every = [matches.corrected for matches in self.by_channel.values()]
            query = np.asarray(np.choose(channel, [m.best_query for m in every]), np.int64)
            cosine = np.asarray(np.choose(channel, [m.best_query_cosine for m in every]), np.float64)
            return exposures(people, query, score, cosine, channel, rows)
        matches = self.raw if by == COSINE else self.by_channel[by].corrected
        score = matches.best_query_score if by == COSINE else self.by_channel[by].score
        channel = np.full(len(people), 0 if by == COSINE else list(self.by_channel).index(by), np.int64)
        return exposures(people, matches.best_query, score, matches.best_query_cosine, channel, rows)


def score_side(
    role: Role,
    images: Embedded,
    raw: Matches,
    contexts: Mapping[str, ChannelContext],
    compare: Comparisons,
    depth: int,
    *,
    skip_best: bool = False,
) -> RealSide:
    """Compares the synthetic set with training or control images by every channel; ``depth`` matches are stored.

    ``skip_best`` is that of `Cohort.correction` for the real images.
    """
    by_channel = {}
    for channel, context in contexts.items():
        own = images.through(channel)
        correction = context.cohort.correction(own, role, skip_best=skip_best)
        # Only the closest pairs with training images are reported.
        run = compare.ranked if role == "training" else compare.matches
        corrected = run(
            Comparison("hub-corrected", channel, role),
            *(context.synthetic, own, context.synthetic_correction, correction),
            top_k=depth,
        )
        by_channel[channel] = ChannelMatches(correction, corrected, context.scale)
    return RealSide(images, raw, by_channel)
