"""Judging one audit's comparisons, for any draw of the pictures that take part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.findings import best_pair
from unveil.analysis.matching import Matching, Subsample
from unveil.analysis.scores import RealSide
from unveil.compare import Backend, best_among
from unveil.config.settings import Settings
from unveil.embedding.fusion import part_cosines
from unveil.results.audit import ChannelScore, IdentityFinding, ModelScore, PersonFinding, Stability
from unveil.stats.conformal import conformal_p
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.person_tests import PersonTests, person_tests
from unveil.stats.score_scale import max_over_channels
from unveil.stats.target_decoy import Competition, Mask, compete
from unveil.stats.verdict import Evidence
from unveil.types import Embedded, Exposure, Floats, Ints


@dataclass(frozen=True)
class ScoreTests:
    """Exposures by one score, and what they say of the training people."""

    training: Exposure
    control: Exposure
    decision: PersonTests


@dataclass(frozen=True)
class BestMatches:
    """Of each synthetic identity (I,) its best match: the synthetic row, the score, whether a training person won it,
    the winner's code on their side, and the training row that came closest with the channel that saw it."""

    query: Ints
    score: Floats
    by_training: Mask
    winner: Ints
    row: Ints
    channel: Ints


class Inference:
    """The synthetic pictures and both sides of real ones, ready to be judged."""

    def __init__(
        self,
        synthetic: Embedded,
        contexts: Mapping[str, ChannelContext],
        training: RealSide,
        control: RealSide,
        settings: Settings,
        backend: Backend,
    ) -> None:
        self._synthetic, self._lenses = synthetic, contexts
        self._training, self._control = training, control
        self._settings, self._backend = settings, backend
        self._names, self._codes = person_codes(synthetic.people_or_ids)

    def by_score(self, draw: Subsample, by: str | None = None) -> ScoreTests:
        """Exposure of the people who take part, by all channels together or as `Side.exposure` says, and what it
        says."""
        real, null = self._training.exposure(draw.training, by), self._control.exposure(draw.control, by)
        return ScoreTests(real, null, person_tests(real.score, null.score))

    def by_channel(self, draw: Subsample, together: ScoreTests) -> dict[str, ScoreTests]:
        """The same by each channel alone; a single one is all of them ``together``."""
        if len(self._lenses) == 1:
            return dict.fromkeys(self._lenses, together)
        return {channel: self.by_score(draw, channel) for channel in self._lenses}

    def people(
        self, together: ScoreTests, channels: Mapping[str, ScoreTests], cosine: ScoreTests
    ) -> tuple[PersonFinding, ...]:
        """Every training person, most exposed first. Those who take no part in the tests have no p and no q."""
        real, decision = together.training, together.decision
        counted, modelled = decision.conformal(self._settings.fdr), decision.gpd(self._settings.fdr)
        first = next(iter(channels.values()))
        networks = self._networks(first.training, first.control)
        views = [self._views(channel, judged) for channel, judged in channels.items() if len(channels) > 1]
        tested = {}
        for i, person in enumerate(real.people):
            bases: list[Evidence] = []
            if counted[i]:
                bases.append("conformal")
            if modelled[i]:
                bases.append("GPD tail")
            tested[person] = replace(
                self._finding(real, i),
                p=float(decision.p[i]),
                q=float(decision.q[i]),
                p_gpd=None if decision.p_gpd is None else float(decision.p_gpd[i]),
                q_gpd=None if decision.q_gpd is None else float(decision.q_gpd[i]),
                significant_by=tuple(bases),
                # Exposures hold the same people in the same order, whatever the score.
                p_cosine=float(cosine.decision.p[i]),
                q_cosine=float(cosine.decision.q[i]),
                models=tuple(network[i] for network in networks),
                channels=tuple(view[i] for view in views),
            )
        everybody = self._training.exposure()
        people = [tested.get(person) or self._finding(everybody, i) for i, person in enumerate(everybody.people)]
        return tuple(sorted(people, key=lambda p: -p.score))

    def _finding(self, exposed: Exposure, i: int) -> PersonFinding:
        return best_pair(exposed, i, self._synthetic, self._training)

    def _views(self, channel: str, judged: ScoreTests) -> list[ChannelScore]:
        """What one channel alone says of each training person."""
        real, decision = judged.training, judged.decision
        return [
            ChannelScore(
                *(channel, float(real.score[i]), float(real.cosine[i]), float(decision.p[i]), float(decision.q[i])),
                *(self._synthetic.ids[query], self._training.images.ids[row]),
            )
            for i, (query, row) in enumerate(real.best_pair)
        ]

    def _networks(self, real: Exposure, null: Exposure) -> list[list[ModelScore]]:
        """Of each of several networks, its own view of each training person's best pair by the faces."""
        if not self._synthetic.parts:
            return []
        own = part_cosines(self._synthetic, self._training.images, *real.best_pair.T)
        theirs = part_cosines(self._synthetic, self._control.images, *null.best_pair.T)
        return [
            [
                ModelScore(part.name, float(cosine), float(p))
                for cosine, p in zip(own[:, k], conformal_p(own[:, k], theirs[:, k]), strict=True)
            ]
            for k, part in enumerate(self._synthetic.parts)
        ]

    def compete(self, draw: Subsample) -> tuple[Competition, BestMatches]:
        """Each synthetic identity takes its best match over training people and decoys, by whichever channel sees the
        closest; decoys win ties."""
        (rows_t, score_t, channel_t), (rows_c, score_c, _) = (
            self._best_among(side, rows)
            for side, rows in ((self._training, draw.training), (self._control, draw.control))
        )
        won = score_t > score_c
        score = np.where(won, score_t, score_c)
        best = best_of_each(self._codes, score, before=won.astype(np.float64))
        person_t, person_c = self._training.people[1], self._control.people[1]
        winner = np.where(won[best], person_t[rows_t[best]], person_c[rows_c[best]])
        n_t, n_c = len(np.unique(person_t[draw.training])), len(np.unique(person_c[draw.control]))
        competition = compete(score[best], won[best], winner, n_t / n_c, self._settings.fdr)
        return competition, BestMatches(best, score[best], won[best], winner, rows_t[best], channel_t[best])

    def _best_among(self, side: RealSide, rows: Ints) -> tuple[Ints, Floats, Ints]:
        """Of each synthetic picture the closest of some real ones, its score, and the channel that sees it."""
        found = []
        for channel, lens in self._lenses.items():
            sight = side.by_channel[channel]
            best, score = best_among(
                *(sight.corrected, lens.synthetic.vectors, side.images.through(channel).vectors, rows),
                *(lens.on_synthetic, sight.correction, self._backend),
            )
            found.append((best, lens.standard.of(score)))
        seen_by, highest_score = max_over_channels([score for _, score in found])
        return np.choose(seen_by, [best for best, _ in found]), highest_score, seen_by

    def identities(self, competition: Competition, wins: BestMatches) -> tuple[IdentityFinding, ...]:
        """Every synthetic identity, the surest first."""
        significant = competition.significant(self._settings.fdr)
        # Training people whose closest identity is known, for those that are closest to the same person.
        closest = {int(wins.winner[i]): self._names[i] for i in np.flatnonzero(competition.first)}
        n_images, names = np.bincount(self._codes), list(self._lenses)
        return tuple(
            IdentityFinding(
                identity=self._names[i],
                score=float(wins.score[i]),
                q=float(competition.q[i]),
                n_images=int(n_images[i]),
                synthetic_id=self._synthetic.ids[wins.query[i]],
                training_id=self._training.images.ids[wins.row[i]] if wins.by_training[i] else None,
                channel=names[wins.channel[i]],
                significant=bool(significant[i]),
                duplicate_of=closest[int(wins.winner[i])] if wins.by_training[i] and not competition.first[i] else None,
            )
            for i in np.lexsort((-wins.score, competition.q))
        )

    def repeat(
        self, matching: Matching, draw: Subsample, own: ScoreTests, own_competition: Competition
    ) -> tuple[Stability, dict[str, int]]:
        """The audit's own judgement and that of other draws of pictures and people; how often each person is listed."""
        settings = self._settings
        listed_in: dict[str, int] = {}
        n_people, n_identities, n_found = [], [], 0
        resamples = 1 if matching.nothing_is_drawn(draw) else settings.resamples
        for k in range(resamples):
            judged, competition = own, own_competition
            if k > 0:
                other = matching.draw(settings.random(f"draw {k}"))
                judged, competition = self.by_score(other), self.compete(other)[0]
            significant = judged.decision.conformal(settings.fdr) | judged.decision.gpd(settings.fdr)
            for i in np.flatnonzero(significant):
                person = judged.training.people[i]
                listed_in[person] = listed_in.get(person, 0) + 1
            n_people.append(int(significant.sum()))
            n_identities.append(int(competition.significant(settings.fdr).sum()))
            by_all = judged.decision.global_test.p_value <= settings.global_level
            n_found += bool(n_people[-1] or n_identities[-1] or by_all)
        return Stability(resamples, tuple(n_people), tuple(n_identities), n_found), listed_in
