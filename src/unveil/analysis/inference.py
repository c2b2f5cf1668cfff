"""The tests of one audit, for any subsample of the images: people, identities, and their stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.findings import best_pair
from unveil.analysis.matching import Matching, Subsample
from unveil.analysis.scores import COSINE, RealSide
from unveil.columns import Labels, People, Texts
from unveil.compare import Backend, best_among, exact_cosine
from unveil.embedding.fusion import part_cosines
from unveil.results import ChannelScore, IdentityFindings, IdentityMatch, ModelScore, PersonFinding, Stability
from unveil.stats.conformal import conformal_p
from unveil.stats.enrichment import ALL_CHANNELS, GlobalTest, global_test_by_any
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.person_tests import PersonTests, lifted, person_tests
from unveil.stats.score_scale import max_over_channels, of_channel
from unveil.stats.statements import Evidence
from unveil.stats.target_decoy import Competition, compete
from unveil.types import Embedded, Exposure, Floats, Generators, Ints, Mask

# The name of the score in the report where there is a single channel.
HUB_CORRECTED = "hub-corrected"


def alone(channel: str) -> str:
    """The name of the score of one of several channels."""
    return f"{channel} alone"


@dataclass(frozen=True)
class ScoreTests:
    """The exposures of training and control people by one score, and the tests of the training people.

    ``tested`` are the exposures (P,) and (C,) that are ranked: people with a near-duplicate are above all others.
    """

    training: Exposure
    control: Exposure
    decision: PersonTests
    tested: tuple[Floats, Floats]


@dataclass(frozen=True)
class BestMatches:
    """The best match of each synthetic identity (I,) over training and control people.

    ``query`` is the synthetic row; ``winner`` is the code of the matched person on their side. ``row`` and ``channel``
    are of the closest training image, whether or not it won. ``n_agreeing`` images have the winner as their own best
    match.
    """

    query: Ints
    score: Floats
    by_training: Mask
    winner: Ints
    row: Ints
    channel: Ints
    n_agreeing: Ints


@dataclass(frozen=True)
class _Closest:
    """The closest of some real images to each synthetic image (Q,), or to the identity that it belongs to.

    ``row`` is the real image, ``channel`` that of the score. ``image_row`` and ``image_score`` are those of the
    synthetic image by itself.
    """

    row: Ints
    score: Floats
    channel: Ints
    image_row: Ints
    image_score: Floats


class Inference:
    """Tests people and identities at a false discovery rate, from the scores of both sides."""

    def __init__(
        self,
        synthetic: Embedded,
        contexts: Mapping[str, ChannelContext],
        training: RealSide,
        control: RealSide,
        fdr: float,
        backend: Backend,
    ) -> None:
        self._synthetic, self._contexts = synthetic, contexts
        self._training, self._control = training, control
        self._fdr, self._backend = fdr, backend
        self._names, self._codes = person_codes(synthetic.people_or_ids)

    def by_score(self, subsample: Subsample, by: str | None = None) -> ScoreTests:
        """The tests of the people in a subsample, by one score; ``by`` as in `RealSide.exposure`."""
        training, control = self._exposures(subsample, by)
        tested = self._ranked(subsample, training, control, by)
        return ScoreTests(training, control, person_tests(training.score, control.score, tested), tested)

    def _exposures(self, subsample: Subsample, by: str | None) -> tuple[Exposure, Exposure]:
        return self._training.exposure(subsample.training, by), self._control.exposure(subsample.control, by)

    def _ranked(
        self, subsample: Subsample, training: Exposure, control: Exposure, by: str | None
    ) -> tuple[Floats, Floats]:
        """The exposures (P,) and (C,) that ranks are made of; the raw cosine is ranked as it is."""
        if by == COSINE:
            return training.score, control.score
        near = (
            self._training.people_with_near_duplicate(subsample.training),
            self._control.people_with_near_duplicate(subsample.control),
        )
        return lifted(training.score, control.score, *near)

    def of_group(self, subsample: Subsample, all_channels: ScoreTests) -> dict[str, tuple[Floats, Floats]]:
        """The exposures (P,) and (C,) that the global test ranks: over all channels, and by each of several alone."""
        if len(self._contexts) == 1:
            return {HUB_CORRECTED: all_channels.tested}
        by_channel = {
            alone(channel): self._ranked(subsample, *self._exposures(subsample, channel), channel)
            for channel in self._contexts
        }
        return {ALL_CHANNELS: all_channels.tested, **by_channel}

    def by_channel(self, subsample: Subsample, all_channels: ScoreTests) -> dict[str, ScoreTests]:
        """The tests by each channel alone; with a single channel they are those of ``all_channels``."""
        if len(self._contexts) == 1:
            return dict.fromkeys(self._contexts, all_channels)
        return {channel: self.by_score(subsample, channel) for channel in self._contexts}

    def people(
        self, all_channels: ScoreTests, by_channel: Mapping[str, ScoreTests], cosine: ScoreTests
    ) -> tuple[PersonFinding, ...]:
        """Every training person, most exposed first; people who were not tested have no p and no q."""
        training, decision = all_channels.training, all_channels.decision
        conformal, gpd = decision.conformal(self._fdr), decision.gpd(self._fdr)
        first = next(iter(by_channel.values()))
        models = self._model_scores(first.training, first.control)
        channels = [self._channel_scores(c, tests) for c, tests in by_channel.items() if len(by_channel) > 1]
        tested, matched = {}, self._identity_matches(training)
        for i, person in enumerate(training.people):
            evidence: list[Evidence] = []
            if conformal[i]:
                evidence.append("conformal")
            if gpd[i]:
                evidence.append("GPD tail")
            tested[person] = replace(
                self._best_pair(training, i, matched),
                p=float(decision.p[i]),
                q=float(decision.q[i]),
                p_gpd=None if decision.p_gpd is None else float(decision.p_gpd[i]),
                q_gpd=None if decision.q_gpd is None else float(decision.q_gpd[i]),
                significant_by=tuple(evidence),
                # Exposures hold the same people in the same order, whatever the score.
                p_cosine=float(cosine.decision.p[i]),
                q_cosine=float(cosine.decision.q[i]),
                models=tuple(scores[i] for scores in models),
                channels=tuple(scores[i] for scores in channels),
            )
        everybody = self._training.exposure()
        others = self._identity_matches(everybody) if len(tested) < len(everybody) else {}
        people = [
            tested.get(person) or self._best_pair(everybody, i, others) for i, person in enumerate(everybody.people)
        ]
        return tuple(sorted(people, key=lambda p: -p.score))

    def _best_pair(self, exposed: Exposure, i: int, matched: Mapping[int, IdentityMatch]) -> PersonFinding:
        found = best_pair(exposed, i, self._synthetic, self._training)
        return replace(found, identity=matched[i]) if i in matched else found

    def _identity_matches(self, exposed: Exposure) -> dict[int, IdentityMatch]:
        """The identity of each person of an exposure whose score the mean vector of an identity gives."""
        matched: dict[int, IdentityMatch] = {}
        person = self._training.people[1]
        for c, channel in enumerate(self._training.by_channel):
            context = self._contexts[channel].identities
            if context is None:
                continue
            people = np.flatnonzero((exposed.identity >= 0) & (exposed.channel == c))
            identity, row = exposed.identity[people], exposed.best_pair[people, 1]
            position, images = context.identities.images(identity)
            training, control = (side.by_channel[channel].corrected for side in (self._training, self._control))
            agree = person[training.rows[images, 0]] == person[row][position]
            agree &= training.score[images, 0] > control.score[images, 0]
            means, real = context.identities.means, self._training.images.through(channel).vectors
            facts = zip(
                means.ids.take(identity),
                np.bincount(position, minlength=len(people)).tolist(),
                np.bincount(position[agree], minlength=len(people)).tolist(),
                exact_cosine(means.vectors, real, identity, row).tolist(),
                strict=True,
            )
            matched |= {i: IdentityMatch(*of_person) for i, of_person in zip(people.tolist(), facts, strict=True)}
        return matched

    def _channel_scores(self, channel: str, tests: ScoreTests) -> list[ChannelScore]:
        """The score, p and q of each training person by one channel alone."""
        training, decision = tests.training, tests.decision
        return [
            ChannelScore(
                *(channel, float(training.score[i]), float(training.cosine[i])),
                *(float(decision.p[i]), float(decision.q[i])),
                *(self._synthetic.ids[query], self._training.images.ids[row]),
            )
            for i, (query, row) in enumerate(training.best_pair)
        ]

    def _model_scores(self, training: Exposure, control: Exposure) -> list[list[ModelScore]]:
        """The cosine and p of each training person's best face pair by each of several fused models."""
        if not self._synthetic.parts:
            return []
        cosine_t = part_cosines(self._synthetic, self._training.images, *training.best_pair.T)
        cosine_c = part_cosines(self._synthetic, self._control.images, *control.best_pair.T)
        return [
            [
                ModelScore(part.name, float(cosine), float(p))
                for cosine, p in zip(cosine_t[:, k], conformal_p(cosine_t[:, k], cosine_c[:, k]), strict=True)
            ]
            for k, part in enumerate(self._synthetic.parts)
        ]

    def compete(self, subsample: Subsample) -> tuple[Competition, BestMatches]:
        """Target-decoy competition: each synthetic identity takes its best match over training and control people.

        A score is the highest over all channels. Control people win ties.
        """
        t, c = (
            self._best_among(side, rows)
            for side, rows in ((self._training, subsample.training), (self._control, subsample.control))
        )
        # Of millions of synthetic images these arrays are the most memory: codes and ranks take four bytes.
        person_t, person_c = (side.people[1].astype(np.int32) for side in (self._training, self._control))
        won, won_by_image = t.score > c.score, t.image_score > c.image_score
        score = np.where(won, t.score, c.score)
        person = np.where(won, person_t[t.row], person_c[c.row])
        of_image = np.where(won_by_image, person_t[t.image_row], person_c[c.image_row])
        # Images of one identity may share its score: the one that is closest by itself and to the same person is shown.
        agrees = (of_image == person) & (won_by_image == won)
        order = np.lexsort((-np.where(won, t.image_score, c.image_score), ~agrees, won))
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        del order
        best = best_of_each(self._codes, score, before=rank)
        winner = person[best].astype(np.int64)
        agreeing = (of_image == winner[self._codes]) & (won_by_image == won[best][self._codes])
        n_t, n_c = len(np.unique(person_t[subsample.training])), len(np.unique(person_c[subsample.control]))
        competition = compete(score[best], won[best], winner, n_t / n_c, self._fdr)
        return competition, BestMatches(
            *(best, score[best], won[best], winner, t.row[best], t.channel[best]),
            np.bincount(self._codes, agreeing).astype(np.int64),
        )

    def _best_among(self, side: RealSide, rows: Ints) -> _Closest:
        """The closest of some real images to each synthetic image (Q,) or to its identity."""
        by_image, highest = [], []
        for channel, context in self._contexts.items():
            matches = side.by_channel[channel]
            real = side.images.through(channel).vectors
            best, score = best_among(
                *(matches.corrected, context.synthetic.vectors, real, rows),
                *(context.synthetic_correction, matches.correction, self._backend),
            )
            by_image.append((best, context.scale.of(score)))
            highest.append(by_image[-1])
            if context.identities is not None and matches.identities is not None:
                of_identities = best_among(
                    *(matches.identities.matches, context.identities.identities.means.vectors, real, rows),
                    *(context.identities.correction, matches.people_correction, self._backend),
                )
                highest[-1] = context.identities.higher(*by_image[-1], *of_identities)
        best_channel, best_score = max_over_channels([score for _, score in highest])
        image_channel, image_score = max_over_channels([score for _, score in by_image])
        return _Closest(
            *(of_channel(best_channel, [row for row, _ in highest]), best_score, best_channel),
            *(of_channel(image_channel, [row for row, _ in by_image]), image_score),
        )

    def identities(self, competition: Competition, matches: BestMatches) -> IdentityFindings:
        """Every synthetic identity, smallest q first."""
        # The closest identity of each training person; other identities with the same person are its duplicates.
        first, people = np.flatnonzero(competition.first), self._training.people[0]
        closest = np.full(len(people), -1, np.int32)
        closest[matches.winner[first]] = first
        order = np.lexsort((-matches.score, competition.q))
        won, winner = matches.by_training[order], matches.winner[order]
        duplicate = won & ~competition.first[order]
        return IdentityFindings(
            identity=self._names.take(order),
            score=matches.score[order],
            q=competition.q[order],
            n_images=np.bincount(self._codes)[order],
            n_agreeing=matches.n_agreeing[order],
            synthetic_id=self._synthetic.ids.take(matches.query[order]),
            training_id=Labels(self._training.images.ids, np.where(won, matches.row[order], -1)),
            channel=People(Texts(list(self._contexts)), matches.channel[order]),
            significant=competition.significant(self._fdr)[order],
            # Winners of control people are codes of another list.
            duplicate_of=Labels(self._names, np.where(duplicate, closest[np.where(duplicate, winner, 0)], -1)),
        )

    def repeat(
        self,
        matching: Matching,
        subsample: Subsample,
        tests: ScoreTests,
        group: GlobalTest,
        competition: Competition,
        generators: Generators,
        global_level: float,
        resamples: int,
    ) -> tuple[Stability, dict[str, int]]:
        """Repeats the tests on ``resamples`` subsamples, the audit's own first; counts how often each person is
        significant. One is enough where every subsample would hold all images."""
        times_significant: dict[str, int] = {}
        n_people, n_identities, n_found = [], [], 0
        n = 1 if matching.is_everything(subsample) else resamples
        for k in range(n):
            if k > 0:
                other = matching.subsample(generators(f"draw {k}"))
                tests, competition = self.by_score(other), self.compete(other)[0]
                group = global_test_by_any(self.of_group(other, tests))
            significant = tests.decision.conformal(self._fdr) | tests.decision.gpd(self._fdr)
            for i in np.flatnonzero(significant):
                person = tests.training.people[i]
                times_significant[person] = times_significant.get(person, 0) + 1
            n_people.append(int(significant.sum()))
            n_identities.append(int(competition.significant(self._fdr).sum()))
            n_found += bool(n_people[-1] or n_identities[-1] or group.p_value <= global_level)
        return Stability(n, tuple(n_people), tuple(n_identities), n_found), times_significant
