"""Training or control images and their scores against the synthetic set, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from unveil.analysis.cohort import ChannelContext, IdentityContext, RealCorrection
from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.analysis.recorrection import Stored, with_changed_rows
from unveil.columns import Texts
from unveil.compare import Ranking, exact_scorer
from unveil.stats.exposure import exposures
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.score_scale import ScoreScale, channel_weights, fit_score_scale, max_over_channels, of_channel
from unveil.types import Embedded, Exposure, Floats, Ints, Mask, Matches, Role

# Rows by each ranking that are stored of each synthetic image with control images: they nearly decide which is the
# closest by another hub correction (`best_by_offsets`). More cost more than they save.
CONTROL_DEPTH = 4
# The name of the published attack's score among the names of channels.
COSINE = "cosine"


@dataclass(frozen=True)
class IdentityMatches:
    """The matches of images (G,) with the mean vectors of synthetic identities by one channel.

    ``images`` and ``synthetic`` are the real and the synthetic images by this channel, with the hub corrections
    ``correction`` (G,) and ``synthetic_correction`` (Q,).
    """

    context: IdentityContext
    matches: Matches
    images: Embedded
    synthetic: Embedded
    correction: Floats
    synthetic_correction: Floats

    @cached_property
    def score(self) -> Floats:
        """The score (G,) of each image with its best identity, on the scale."""
        return self.context.scale.of(self.matches.best_query_score)

    def closest_image(self, identity: Ints, row: Ints) -> tuple[Ints, Floats]:
        """The image (K,) of each identity (K,) that is closest to a real image, of row (K,), and their cosine (K,)."""
        position, queries = self.context.identities.images(identity)
        cosine = exact_scorer(1)(self.synthetic.vectors, self.images.vectors, queries, row[position])
        best = best_of_each(position, cosine + self.synthetic_correction[queries])
        return queries[best], cosine[best]


@dataclass(frozen=True)
class ChannelMatches:
    """The matches of images (G,) with the synthetic set by one channel.

    ``people_correction`` (G,) is the hub correction by other real people, which no leak can change; ``correction`` (G,)
    is the one that is added to scores. ``corrected`` are the hub-corrected matches. ``scale`` makes the scores of
    several channels comparable. ``identities`` are the matches with whole identities, if those
    are compared.
    """

    correction: Floats
    corrected: Matches
    scale: ScoreScale
    people_correction: Floats
    identities: IdentityMatches | None = None

    def rescaled(self, context: ChannelContext) -> ChannelMatches:
        """The same on the scales of another context."""
        identities = self.identities
        if identities is not None and context.identities is not None:
            identities = replace(identities, context=context.identities)
        return replace(self, scale=context.scale, identities=identities)

    @cached_property
    def image_score(self) -> Floats:
        """The score (G,) of each image with its best synthetic image, on the scale."""
        return self.scale.of(self.corrected.best_query_score)

    @cached_property
    def score(self) -> Floats:
        """The best score (G,) of each image, with a synthetic image or a whole identity."""
        return self.image_score if self.identities is None else np.maximum(self.image_score, self.identities.score)

    @cached_property
    def identity(self) -> Ints:
        """The identity (G,) whose mean vector gives the score of each image, -1 where a synthetic image does."""
        if self.identities is None:
            return np.full(len(self.image_score), -1, np.int64)
        return np.where(self.identities.score > self.image_score, self.identities.matches.best_query, -1)

    @cached_property
    def closest(self) -> tuple[Ints, Floats]:
        """The row (Q,) closest to each synthetic image or to the identity that it belongs to, and the score."""
        row, score = self.corrected.rows[:, 0], self.scale.of(self.corrected.score[:, 0])
        if self.identities is None:
            return row, score
        context, matches = self.identities.context, self.identities.matches
        return context.higher(row, score, matches.rows[:, 0], matches.score[:, 0])


@dataclass(frozen=True)
class RealSide:
    """Training or control images (N,), their raw matches by the first channel, and their matches by every channel."""

    images: Embedded
    raw: Matches
    by_channel: Mapping[str, ChannelMatches]
    near_duplicate: Mask | None = None  # (N,) which images have a near-duplicate in the synthetic set

    def rescaled(self, contexts: Mapping[str, ChannelContext]) -> RealSide:
        """The same on the scales of other contexts."""
        return replace(self, by_channel={name: m.rescaled(contexts[name]) for name, m in self.by_channel.items()})

    @cached_property
    def people(self) -> tuple[Texts, Ints]:
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
        """The closest image of this side to each synthetic image (Q,): its row, the score, and the channel.

        Where identities are compared, it is the higher of the score of the image and of its identity.
        """
        every = [matches.closest for matches in self.by_channel.values()]
        channel, score = max_over_channels([score for _, score in every])
        return of_channel(channel, [row for row, _ in every]), score, channel

    def best_of_people(self, channel: str, *, identities: bool = False) -> Floats:
        """The best hub-corrected score (P,) of each person with a synthetic image, or with an identity, on no scale."""
        names, codes = self.people
        matches = self.by_channel[channel]
        scores = matches.corrected if not identities or matches.identities is None else matches.identities.matches
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, codes, scores.best_query_score)
        return best

    def people_with_near_duplicate(self, rows: Ints) -> Mask:
        """Who of the people of an exposure over ``rows`` has a near-duplicate of one of these images."""
        names, codes = self.people
        found = np.zeros(len(names), np.bool_)
        if self.near_duplicate is not None:
            found[codes[rows[self.near_duplicate[rows]]]] = True
        return found[np.unique(codes[rows])]

    def exposure(self, rows: Ints | None = None, by: str | None = None) -> Exposure:
        """The best pair of each person over the images of ``rows``, or over all.

        ``by`` names a channel, or COSINE for the raw cosine of the first channel. By default it is the channel with the
        highest score. Where the mean vector of an identity gives the score, the pair shows the image of the identity
        that is closest.
        """
        people = self.images.people_or_ids
        if by == COSINE:
            first = np.zeros(len(people), np.int64)
            return exposures(
                *(people, self.raw.best_query, self.raw.best_query_score, self.raw.best_query_cosine, first, rows)
            )
        every = list(self.by_channel.values())
        if by is None:
            channel, score = self._best
        else:
            channel = np.full(len(people), list(self.by_channel).index(by), np.int64)
            score = self.by_channel[by].score
        query, identity = (
            of_channel(channel, values)
            for values in ([m.corrected.best_query for m in every], [m.identity for m in every])
        )
        cosine = of_channel(channel, [m.corrected.best_query_cosine for m in every])
        return self._with_images(exposures(people, query, score, cosine, channel, rows, identity))

    def _with_images(self, exposed: Exposure) -> Exposure:
        """The same with an image of the identity in each pair whose score the mean vector of an identity gives."""
        if (exposed.identity < 0).all():
            return exposed
        pairs, cosines = exposed.best_pair.copy(), exposed.cosine.copy()
        for channel, matches in enumerate(self.by_channel.values()):
            by_mean = np.flatnonzero((exposed.identity >= 0) & (exposed.channel == channel))
            if len(by_mean) and matches.identities is not None:
                query, cosine = matches.identities.closest_image(exposed.identity[by_mean], pairs[by_mean, 1])
                pairs[by_mean, 0], cosines[by_mean] = query, cosine
        return replace(exposed, best_pair=pairs, cosine=cosines)


def score_side(
    role: Role,
    images: Embedded,
    contexts: Mapping[str, ChannelContext],
    compare: Comparisons,
    depth: int,
    *,
    raw: Matches | None = None,
    corrections: Mapping[str, RealCorrection] | None = None,
    skip_best: bool = False,
    spare: bool = False,
) -> RealSide:
    """Compares the synthetic set with training or control images by every channel; ``depth`` matches are stored.

    ``raw`` are the matches by uncorrected cosine. Without them, the first channel gives both in one pass. Without
    ``corrections`` by channel, they come from the cohort; ``skip_best`` is that of `Cohort.correction`. With
    ``spare``, some more hub-corrected matches are stored, for `corrected_again`.
    """
    by_channel = {}
    stored = _stored(role, depth, compare)
    if spare:
        stored = stored.spare
    for channel, context in contexts.items():
        own = images.through(channel)
        if corrections is None:
            by_people = context.cohort.correction(own, role, skip_best=skip_best)
            correction = RealCorrection(by_people, by_people)
        else:
            correction = corrections[channel]
        offsets = (context.synthetic_correction, correction.of_score)
        rankings = [Ranking(stored.top_k, True, stored.top_pairs, *offsets)]
        if raw is None and channel == FIRST_CHANNEL:
            first = Ranking(compare.top_k if role == "training" else CONTROL_DEPTH, True, compare.n_pairs)
            raw, corrected = compare.rankings(
                Comparison("cosine", channel, role), context.synthetic, own, [first, *rankings]
            )
        else:
            (corrected,) = compare.rankings(
                Comparison("hub-corrected", channel, role), context.synthetic, own, rankings
            )
        by_channel[channel] = ChannelMatches(
            *(correction.of_score, corrected, context.scale, correction.by_people),
            _match_identities(role, own, context, correction.by_people, compare, depth),
        )
    if raw is None:
        raise ValueError(f"the matches by cosine need the channel {FIRST_CHANNEL}, got {list(contexts)}")
    return RealSide(images, raw, by_channel)


def _stored(role: Role, depth: int, compare: Comparisons) -> Stored:
    """What a side stores: only the closest pairs with training images are reported."""
    return Stored(depth, compare.n_pairs) if role == "training" else Stored(max(depth, CONTROL_DEPTH), 0)


def corrected_again(
    role: Role, side: RealSide, context: ChannelContext, of_score: Floats, compare: Comparisons, depth: int
) -> RealSide:
    """The side with the hub corrections ``of_score`` (N,) in the first channel.

    Its matches have some to spare. Those of the images whose correction is another are compared again.
    """
    before, stored = side.by_channel[FIRST_CHANNEL], _stored(role, depth, compare)
    own = side.images.through(FIRST_CHANNEL)
    changed = np.flatnonzero(of_score != before.correction)

    def among(queries: Ints | None, rows: Ints, top_k: int, top_pairs: int) -> Matches:
        offset = context.synthetic_correction
        return compare.matches(
            Comparison("changed", FIRST_CHANNEL, role),
            *(context.synthetic if queries is None else context.synthetic.take(queries), own.take(rows)),
            *(offset if queries is None else offset[queries], of_score[rows]),
            top_k=top_k,
            top_pairs=top_pairs,
        )

    corrected = before.corrected
    if len(changed):
        corrected = with_changed_rows(corrected, changed, stored, among)
    again = replace(before, correction=of_score, corrected=stored.trimmed(corrected))
    return replace(side, by_channel={**side.by_channel, FIRST_CHANNEL: again})


def _match_identities(
    role: Role, own: Embedded, context: ChannelContext, correction: Floats, compare: Comparisons, depth: int
) -> IdentityMatches | None:
    """Compares the mean vectors of synthetic identities with the images ``own`` by one channel."""
    if context.identities is None:
        return None
    matches = compare.matches(
        Comparison("identities", own.channel, role),
        *(context.identities.identities.means, own, context.identities.correction, correction),
        top_k=depth,
    )
    return IdentityMatches(
        context.identities, matches, own, context.synthetic, correction, context.synthetic_correction
    )


def with_common_scale(
    contexts: Mapping[str, ChannelContext], training: RealSide, control: RealSide
) -> tuple[dict[str, ChannelContext], RealSide, RealSide]:
    """The same with the scales of the channels fitted to the exposures of all real people, on either side.

    The channel in which most people are exposed leads; scores of the others count half.
    """
    sides = (training, control)
    scaled, exposed = {}, {}
    for channel, context in contexts.items():
        of_images = np.concatenate([side.best_of_people(channel) for side in sides])
        scale = fit_score_scale(of_images).lowered(context.handicap)
        exposed[channel], identities = scale.of(of_images), context.identities
        if identities is not None:
            of_identities = np.concatenate([side.best_of_people(channel, identities=True) for side in sides])
            identities = replace(identities, scale=fit_score_scale(of_identities))
            exposed[channel] = np.maximum(exposed[channel], identities.scale.of(of_identities))
        scaled[channel] = replace(context, scale=scale, identities=identities)
    scaled = {channel: scaled[channel].weighted(weight) for channel, weight in channel_weights(exposed).items()}
    return scaled, training.rescaled(scaled), control.rescaled(scaled)
