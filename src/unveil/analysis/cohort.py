"""The cohort and the hub correction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from unveil.analysis.identities import Identities
from unveil.columns import Texts
from unveil.compare import Backend, Ranking, compare_all, compare_rankings, exact_cosine
from unveil.stats.exposure import subsample_images
from unveil.stats.hubness import NEIGHBOURS, closeness, person_codes
from unveil.stats.score_scale import NO_SCALE, ScoreScale, fit_score_scale
from unveil.types import Embedded, Floats, Ints, Matches, Role

# A larger cohort costs comparisons and changes nothing: ten neighbours are used.
MAX_COHORT_PEOPLE = 5000
# Images that are compared with the cohort at a time, and images whose matches are sorted at once.
COMPARED_ROWS, BLOCK_ROWS = 2**18, 16384
# Synthetic images whose mean cosine is the closeness of a real image to the synthetic set.
SYNTHETIC_NEIGHBOURS = 5
# Closest synthetic images of a real image that are looked at first, and then where a person is reproduced more often.
SYNTHETIC_DEPTHS = (8, 64)


def one_image_per_person(people: Sequence[str], rng: np.random.Generator, max_people: int | None = None) -> Ints:
    """Rows, ascending, of one random image of each person, or of ``max_people`` random people."""
    names, codes = person_codes(people)
    counts = np.ones(len(names), np.int64)
    if max_people is not None and len(names) > max_people:
        counts[rng.permutation(len(names))[max_people:]] = 0
    return subsample_images(codes, counts, rng)


def mated_pairs(people: Sequence[str], rng: np.random.Generator, max_people: int) -> tuple[Ints, Ints]:
    """Rows of two random images of each of at most ``max_people`` random people who have two."""
    _, codes = person_codes(people)
    order = np.lexsort((rng.random(len(codes)), codes))
    same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    first = same[np.unique(codes[order][same], return_index=True)[1]]
    first = rng.permutation(first)[:max_people]
    return order[first], order[first + 1]


@dataclass(frozen=True)
class Cohort:
    """Real people, one image each, that measure how close an image is to everybody.

    The first ``n_training`` images are of training people, the others of control people. A name may stand for two
    people, one on each side.
    """

    images: Embedded
    n_training: int
    backend: str | Backend = "auto"

    def through(self, channel: str) -> Cohort:
        """The same people with the vectors of one channel."""
        return replace(self, images=self.images.through(channel))

    def correction(self, embedded: Embedded, role: Role, *, skip_best: bool = False) -> Floats:
        """The hub correction (N,) of images of a role: minus half their closeness to the cohort, added to scores.

        The own person of a real image never counts. ``skip_best`` leaves out the best match too: the cohort holds the
        people who are tested, and a synthetic image that shows one of them must not lower its own score by that. See
        `unveil.stats.hubness.closeness` for the source.
        """
        return -self._closeness(embedded, role, [(int(skip_best), None)])[0] / 2

    def correction_and_mean_score(self, embedded: Embedded, role: Role) -> tuple[Floats, Floats]:
        """The hub correction (N,) that skips the best match, and the mean hub-corrected score (N,), in one pass.

        The mean is that of each image with the people it is closest to, but for the closest. A leak raises the score
        with one person and leaves these.
        """
        closeness, score = self._closeness(embedded, role, [(1, None), (1, self.own_correction)])
        correction = -closeness / 2
        return correction, score + correction

    def _closeness(self, embedded: Embedded, role: Role, measures: Sequence[tuple[int, Floats | None]]) -> list[Floats]:
        """Means (N,) of the highest cosines with the cohort, without those of the own person.

        Each measure skips so many of the highest, and adds an offset (C,) to the cosines. Some images are compared at a
        time: their matches take far more memory than the means.
        """
        if not len(embedded):
            return [np.zeros(0) for _ in measures]
        own, means = self._own_rows(embedded, role), [np.empty(len(embedded)) for _ in measures]
        # Of a small cohort all are listed, so that those of other people are one fewer where the own person is in it.
        spare = int((own >= 0).any())
        n_others = len(self.images) - spare
        for start in range(0, len(own), COMPARED_ROWS):
            compared = slice(start, min(start + COMPARED_ROWS, len(own)))
            every = compare_rankings(
                *(embedded.vectors[compared], self.images.vectors),
                [Ranking(NEIGHBOURS + spare + skipped, False, 0, None, offset) for skipped, offset in measures],
                backend=self.backend,
            )
            for found, mean, (skipped, _) in zip(every, means, measures, strict=True):
                for first in range(0, len(found.rows), BLOCK_ROWS):
                    block = slice(first, min(first + BLOCK_ROWS, len(found.rows)))
                    rows = slice(start + block.start, start + block.stop)
                    order = np.argsort(found.rows[block] == own[rows, None], axis=1, kind="stable")
                    score = np.take_along_axis(found.score[block], order, axis=1)
                    mean[rows] = closeness(score[:, skipped : min(n_others, NEIGHBOURS + skipped)])
        return means

    @cached_property
    def own_correction(self) -> Floats:
        """The hub correction (C,) of the images of the cohort themselves."""
        rows = np.arange(len(self.images))
        sides: tuple[tuple[Ints, Role], ...] = (
            (rows[: self.n_training], "training"),
            (rows[self.n_training :], "control"),
        )
        return np.concatenate([self.correction(self.images.take(side), role) for side, role in sides])

    def _own_rows(self, embedded: Embedded, role: Role) -> Ints:
        """The cohort row (N,) of the person of each image, -1 for people outside the cohort."""
        if role == "synthetic":
            return np.full(len(embedded), -1, np.int64)
        first, last = (0, self.n_training) if role == "training" else (self.n_training, len(self.images))
        names, codes = person_codes(embedded.people_or_ids)
        row = names.find(Texts(list(self.images.people_or_ids[first:last])))
        return np.where(row >= 0, first + row, -1)[codes]


def pooled_cohort(training: Embedded, control: Embedded | None, backend: str | Backend = "auto") -> Cohort:
    """All real people, each with the first image in source order; MAX_COHORT_PEOPLE of them where there are more.

    Which of them is decided by the digests of their images. So the cohort is a symmetric function of all real people:
    it does not favour the people of either side, and nothing in it is random.
    """
    sides = [training] if control is None else [training, control]
    first = [first_images(side.people_or_ids) for side in sides]
    digests = Texts.joined(side.digests.take(rows) for side, rows in zip(sides, first, strict=True))
    chosen = np.zeros(len(digests), np.bool_)
    chosen[chosen_by_digest(digests, MAX_COHORT_PEOPLE)] = True
    ends = np.cumsum([0, *(len(rows) for rows in first)])
    parts = [
        side.take(rows[chosen[start:end]])
        for side, rows, start, end in zip(sides, first, ends[:-1], ends[1:], strict=True)
    ]
    return Cohort(parts[0] if len(parts) == 1 else parts[0].joined(parts[1]), len(parts[0]), backend)


@dataclass(frozen=True)
class RealCorrection:
    """The hub corrections (N,) of real images: by other real people, and the one that is added to scores."""

    by_people: Floats
    of_score: Floats


def people_corrections(
    contexts: Mapping[str, ChannelContext], images: Embedded, role: Role
) -> dict[str, RealCorrection]:
    """The hub corrections of the images of a real role by other real people, by channel."""
    found = {c: context.cohort.correction(images.through(c), role) for c, context in contexts.items()}
    return {channel: RealCorrection(correction, correction) for channel, correction in found.items()}


def synthetic_corrections(
    synthetic: Embedded,
    sides: tuple[Embedded, Embedded],
    by_people: tuple[Floats, Floats],
    explained: Ints,
    backend: str | Backend,
) -> tuple[Floats, Floats]:
    """Minus half the closeness of the images of both sides (T,) and (C,) to the synthetic set, as CSLS defines it.

    Closeness is the mean cosine of the SYNTHETIC_NEIGHBOURS closest synthetic images, without those whose closest real
    person is the person of the image: however often a generator reproduces a person, that person's score does not fall.
    Closest is by the hub correction ``by_people``. Images that near-duplicates explain (rows ``explained``) do not
    count. Where there are more than MAX_COHORT_PEOPLE synthetic images, their digests choose.
    """
    counted = np.ones(len(synthetic), np.bool_)
    counted[explained] = False
    rest = np.flatnonzero(counted)
    if not len(rest):
        return np.zeros(len(sides[0])), np.zeros(len(sides[1]))
    digests = synthetic.digests.take(rest) if len(explained) else synthetic.digests
    some = synthetic.take(rest[chosen_by_digest(digests, MAX_COHORT_PEOPLE)])
    found = [
        compare_all(
            *(side.vectors, some.vectors),
            top_k=min(SYNTHETIC_DEPTHS[0], len(some)),
            query_offset=offset,
            backend=backend,
            moments=False,
        )
        for side, offset in zip(sides, by_people, strict=True)
    ]
    best = [
        matches.best_query_score if len(side) else np.full(len(some), -np.inf)
        for matches, side in zip(found, sides, strict=True)
    ]
    of_score = []
    for this, (side, matches) in enumerate(zip(sides, found, strict=True)):
        if not len(side):
            of_score.append(np.zeros(0))
            continue
        codes = person_codes(side.people_or_ids)[1]
        # The code of the person of this side who is closest to each synthetic image, -1 where the other side is closer.
        closest = np.where(best[this] >= best[1 - this], codes[matches.best_query], -1)
        of_score.append(-_closeness_to_others(side, some, codes, closest, matches, by_people[this], backend) / 2)
    return of_score[0], of_score[1]


def _closeness_to_others(
    real: Embedded,
    synthetic: Embedded,
    codes: Ints,
    closest: Ints,
    found: Matches,
    offset: Floats,
    backend: str | Backend,
) -> Floats:
    """The mean (N,) of the highest cosines of each image with synthetic images not ``closest`` to its person.

    ``found`` are its matches with the query offset ``offset`` (N,). A person who is reproduced often fills the list of
    matches. Longer lists, and then all synthetic images, are compared for these images alone.
    """
    mean, n_known = _mean_of_others(found, codes, closest)
    for depth in SYNTHETIC_DEPTHS[1:]:
        few = np.flatnonzero(n_known < SYNTHETIC_NEIGHBOURS)
        if found.rows.shape[1] == len(synthetic) or not len(few):
            return mean
        found = compare_all(
            *(np.ascontiguousarray(real.vectors[few]), synthetic.vectors),
            top_k=min(depth, len(synthetic)),
            best_queries=False,
            query_offset=offset[few],
            backend=backend,
            moments=False,
        )
        mean[few], n_known[few] = _mean_of_others(found, codes[few], closest)
    if found.rows.shape[1] < len(synthetic):
        for i in np.flatnonzero(n_known < SYNTHETIC_NEIGHBOURS):
            rows = np.flatnonzero(closest != codes[i])
            cosines = exact_cosine(real.vectors, synthetic.vectors, np.full(len(rows), i), rows)
            mean[i] = np.sort(cosines)[::-1][:SYNTHETIC_NEIGHBOURS].mean() if len(rows) else 0.0
    return mean


def _mean_of_others(found: Matches, codes: Ints, closest: Ints) -> tuple[Floats, Ints]:
    """The mean (N,) over the first matches that are not ``closest`` to the own person, and how many there are (N,)."""
    others = closest[found.rows] != codes[:, None]
    order = np.argsort(~others, axis=1, kind="stable")[:, :SYNTHETIC_NEIGHBOURS]
    cosine = np.take_along_axis(found.cosine, order, axis=1)
    counted = np.take_along_axis(others, order, axis=1)
    mean = np.where(counted, cosine, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return np.asarray(mean, np.float64), others.sum(axis=1)


def chosen_by_digest(digests: Sequence[str], at_most: int) -> Ints:
    """Rows, ascending, of at most so many images, which their digests choose: no seed, and neither side of a test.

    Digests are hashed once more, so that nobody is chosen by a digest that a file was given.
    """
    rows, words, start = np.zeros(0, np.int64), np.zeros((0, 4), np.uint64), 0
    remaining = iter(digests)
    while block := list(islice(remaining, BLOCK_ROWS)):
        hashed = b"".join(hashlib.sha256(digest.encode()).digest() for digest in block)
        of_block = np.frombuffer(hashed, ">u8").reshape(len(block), 4).astype(np.uint64)
        # Once there are enough, only a first word that is low enough can displace another.
        low = np.flatnonzero(of_block[:, 0] <= words[-1, 0]) if len(rows) == at_most > 0 else np.arange(len(block))
        rows, words = np.concatenate([rows, start + low]), np.concatenate([words, of_block[low]])
        chosen = np.lexsort((rows, *words.T[::-1]))[:at_most]
        rows, words, start = rows[chosen], words[chosen], start + len(block)
    return np.sort(rows)


def first_images(people: Sequence[str]) -> Ints:
    """Rows (P,), ascending, of the first image of each person."""
    return np.unique(person_codes(people)[1], return_index=True)[1].astype(np.int64)


@dataclass(frozen=True)
class IdentityContext:
    """What one channel needs to score real images against the mean vectors of synthetic identities (I,).

    ``correction`` (I,) is the hub correction of the mean vectors. ``scale`` is that of their scores.
    """

    identities: Identities
    correction: Floats
    scale: ScoreScale = NO_SCALE

    def higher(self, row: Ints, score: Floats, identity_row: Ints, identity_score: Floats) -> tuple[Ints, Floats]:
        """The closest row and its score (Q,), of each synthetic image (Q,) or of the identity that it belongs to.

        ``identity_score`` (I,) is not yet on the scale.
        """
        of_image = self.identities.of_image
        own = np.where(of_image >= 0, self.scale.of(identity_score)[of_image], -np.inf)
        return np.where(own > score, identity_row[of_image], row), np.maximum(score, own)


@dataclass(frozen=True)
class ChannelContext:
    """What one channel needs to score real images.

    ``synthetic_correction`` (Q,) is the hub correction of the synthetic images. ``scale`` makes the scores of several
    channels comparable. ``identities`` are compared too, unless they are None; ``handicap`` is then what single images
    are lowered by. ``mean_score`` (Q,) is that of `Cohort.correction_and_mean_score`, where searches need it.
    """

    synthetic: Embedded
    cohort: Cohort
    synthetic_correction: Floats
    scale: ScoreScale = NO_SCALE
    identities: IdentityContext | None = None
    handicap: float = 0.0
    mean_score: Floats | None = None

    def on_cohort_scale(self) -> ChannelContext:
        """The same on scales that are fitted to the exposures of the cohort, where those of all people are not known.

        It compares the synthetic set with the cohort.
        """
        own, identities = self.cohort.own_correction, self.identities
        if identities is not None:
            scale = self._cohort_scale(identities.identities.means, identities.correction, own)
            identities = replace(identities, scale=scale)
        scale = self._cohort_scale(self.synthetic, self.synthetic_correction, own).lowered(self.handicap)
        return replace(self, scale=scale, identities=identities)

    def _cohort_scale(self, queries: Embedded, correction: Floats, of_cohort: Floats) -> ScoreScale:
        found = compare_all(
            *(queries.vectors, self.cohort.images.vectors),
            top_k=1,
            query_offset=correction,
            gallery_offset=of_cohort,
            backend=self.cohort.backend,
            moments=False,
        )
        return fit_score_scale(found.best_query_score)

    def weighted(self, weight: float) -> ChannelContext:
        """The same with all scores multiplied by this weight."""
        identities = self.identities
        if identities is not None:
            identities = replace(identities, scale=identities.scale.weighted(weight))
        return replace(self, scale=self.scale.weighted(weight), identities=identities)


def channel_context(
    synthetic: Embedded,
    cohort: Cohort,
    identities: Identities | None = None,
    handicap: float = 0.0,
    *,
    for_search: bool = False,
) -> ChannelContext:
    """The context of a channel, not yet on a scale; ``for_search`` adds what `unveil.analysis.searches.search` needs.

    ``identities`` of this channel have labels that hold. Their mean vectors then say more than single images do, which
    are lowered by ``handicap``: the higher of both is one score, and a single image counts where it is far higher.
    """
    mean_score = by_identity = None
    if for_search:
        correction, mean_score = cohort.correction_and_mean_score(synthetic, "synthetic")
    else:
        correction = cohort.correction(synthetic, "synthetic", skip_best=True)
    if identities is not None:
        by_identity = IdentityContext(identities, cohort.correction(identities.means, "synthetic", skip_best=True))
    return ChannelContext(
        *(synthetic, cohort, correction),
        identities=by_identity,
        handicap=0.0 if identities is None else handicap,
        mean_score=mean_score,
    )
