"""The tests of one audit, for any subsample of the images: people, identities, and their stability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.findings import best_pair
from unveil.analysis.matching import Matching, Subsample
from unveil.analysis.scores import RealSide
from unveil.compare import Backend, best_among
from unveil.embedding.fusion import part_cosines
from unveil.results import ChannelScore, IdentityFinding, ModelScore, PersonFinding, Stability
from unveil.stats.conformal import conformal_p
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.person_tests import PersonTests, person_tests
from unveil.stats.score_scale import max_over_channels
from unveil.stats.statements import Evidence
from unveil.stats.target_decoy import Competition, Mask, compete
from unveil.types import Embedded, Exposure, Floats, Generators, Ints


@dataclass(frozen=True)
class ScoreTests:
    """The exposures of training and control people by one score, and the tests of the training people."""

    training: Exposure
    control: Exposure
    decision: PersonTests


@dataclass(frozen=True)
class BestMatches:
    """The best match of each synthetic identity (I,) over training and control people.

    ``query`` is the synthetic row; ``winner`` is the code of the matched person on their side. ``row`` and ``channel``
    are of the closest training image, whether or not it won.
    """

    query: Ints
    score: Floats
    by_training: Mask
    winner: Ints
    row: Ints
    channel: Ints


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
        training = self._training.exposure(subsample.training, by)
        control = self._control.exposure(subsample.control, by)
        return ScoreTests(training, control, person_tests(training.score, control.score))

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
        tested = {}
        for i, person in enumerate(training.people):
            evidence: list[Evidence] = []
            if conformal[i]:
                evidence.append("conformal")
            if gpd[i]:
                evidence.append("GPD tail")
            tested[person] = replace(
                self._best_pair(training, i),
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
        people = [tested.get(person) or self._best_pair(everybody, i) for i, person in enumerate(everybody.people)]
        return tuple(sorted(people, key=lambda p: -p.score))

    def _best_pair(self, exposed: Exposure, i: int) -> PersonFinding:
        return best_pair(exposed, i, self._synthetic, self._training)

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
        (rows_t, score_t, channel_t), (rows_c, score_c, _) = (
            self._best_among(side, rows)
            for side, rows in ((self._training, subsample.training), (self._control, subsample.control))
        )
        won = score_t > score_c
        score = np.where(won, score_t, score_c)
        best = best_of_each(self._codes, score, before=won.astype(np.float64))
        person_t, person_c = self._training.people[1], self._control.people[1]
        winner = np.where(won[best], person_t[rows_t[best]], person_c[rows_c[best]])
        n_t, n_c = len(np.unique(person_t[subsample.training])), len(np.unique(person_c[subsample.control]))
        competition = compete(score[best], won[best], winner, n_t / n_c, self._fdr)
        return competition, BestMatches(best, score[best], won[best], winner, rows_t[best], channel_t[best])

    def _best_among(self, side: RealSide, rows: Ints) -> tuple[Ints, Floats, Ints]:
        """The closest of some real images to each synthetic image (Q,): its row, the score, and the channel."""
        found = []
        for channel, context in self._contexts.items():
            matches = side.by_channel[channel]
            best, score = best_among(
                *(matches.corrected, context.synthetic.vectors, side.images.through(channel).vectors, rows),
                *(context.synthetic_correction, matches.correction, self._backend),
            )
            found.append((best, context.scale.of(score)))
        best_channel, highest_score = max_over_channels([score for _, score in found])
        return np.choose(best_channel, [best for best, _ in found]), highest_score, best_channel

    def identities(self, competition: Competition, matches: BestMatches) -> tuple[IdentityFinding, ...]:
        """Every synthetic identity, smallest q first."""
        significant = competition.significant(self._fdr)
        # The closest identity of each training person; other identities with the same person are its duplicates.
        closest = {int(matches.winner[i]): self._names[i] for i in np.flatnonzero(competition.first)}
        n_images, channels = np.bincount(self._codes), list(self._contexts)

        def duplicate_of(i: int) -> str | None:
            return closest[int(matches.winner[i])] if matches.by_training[i] and not competition.first[i] else None

        return tuple(
            IdentityFinding(
                identity=self._names[i],
                score=float(matches.score[i]),
                q=float(competition.q[i]),
                n_images=int(n_images[i]),
                synthetic_id=self._synthetic.ids[matches.query[i]],
                training_id=self._training.images.ids[matches.row[i]] if matches.by_training[i] else None,
                channel=channels[matches.channel[i]],
                significant=bool(significant[i]),
                duplicate_of=duplicate_of(i),
            )
            for i in np.lexsort((-matches.score, competition.q))
        )

    def repeat(
        self,
        matching: Matching,
        subsample: Subsample,
        tests: ScoreTests,
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
            significant = tests.decision.conformal(self._fdr) | tests.decision.gpd(self._fdr)
            for i in np.flatnonzero(significant):
                person = tests.training.people[i]
                times_significant[person] = times_significant.get(person, 0) + 1
            n_people.append(int(significant.sum()))
            n_identities.append(int(competition.significant(self._fdr).sum()))
            rejected = tests.decision.global_test.p_value <= global_level
            n_found += bool(n_people[-1] or n_identities[-1] or rejected)
        return Stability(n, tuple(n_people), tuple(n_identities), n_found), times_significant
