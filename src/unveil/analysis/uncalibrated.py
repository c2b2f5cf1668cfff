"""What can be said without a control set: candidates, by how well real people match other real people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unveil.analysis.cohort import MAX_PROBES, MIN_PROBES, Cohort, channel_context, one_image_each, split_off_cohort
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings, best_pair
from unveil.analysis.scores import RealSide, score_side
from unveil.compare import best_of_others
from unveil.config.settings import Settings
from unveil.results.audit import CandidateThreshold, IdentityFinding, PersonFinding
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.input_checks import Check
from unveil.stats.open_set import expected_above, fpir_threshold
from unveil.stats.score_scale import fit_score_scale, max_over_channels
from unveil.stats.verdict import uncalibrated_verdict
from unveil.types import Embedded, Floats, Matches


def analyse_without_control(
    synthetic: Embedded,
    training: Embedded,
    raw: Matches,
    checks: Sequence[Check],
    compare: Comparisons,
    settings: Settings,
) -> Findings:
    """The audit without a control set: training people are the cohort, and other ones of them the null."""
    others, cohort = split_off_cohort(training, settings.cohort_share, settings.random("cohort"), compare.backend)
    contexts = {
        channel: channel_context(synthetic.through(channel), cohort.through(channel), skip_best=True)
        for channel in synthetic.channels
    }
    side = score_side("training", training, raw, contexts, compare, settings.top_k)
    probes, line = _probes(others, settings), None
    if probes is not None:
        searches = {
            channel: _search(
                probes.through(channel), training.through(channel), sight.correction, contexts[channel].cohort
            )
            for channel, sight in side.by_channel.items()
        }
        by_channel = {
            channel: replace(sight, standard=fit_score_scale(searches[channel]))
            for channel, sight in side.by_channel.items()
        }
        side = replace(side, by_channel=by_channel)
        _, found = max_over_channels([by_channel[channel].standard.of(score) for channel, score in searches.items()])
        line = candidate_threshold(side.closest[1], found, settings.fpir)
    people, identities = rank_candidates(synthetic, side, line)
    verdict, evidence = uncalibrated_verdict(checks, None if line is None else line.n_above)
    return Findings(verdict, evidence, tuple(checks), people, identities, side, contexts, line=line)


def _probes(not_in_cohort: Embedded, settings: Settings) -> Embedded | None:
    """Training people outside the cohort to be searched among the others, one picture each.

    None when the training set has no person labels, or too few people: then nothing says which pictures are of others.
    """
    if all(person is None for person in not_in_cohort.people):
        return None
    rows = one_image_each(not_in_cohort.people_or_ids, settings.random("line"), MAX_PROBES)
    return None if len(rows) < MIN_PROBES else not_in_cohort.take(rows)


def _search(probes: Embedded, training: Embedded, correction: Floats, cohort: Cohort) -> Floats:
    """The best score of each probe among *other* training people, searched for as synthetic pictures are."""
    # As for synthetic pictures: the best match does not count towards a probe's own closeness.
    own = cohort.correction(probes, skip_best=True)
    people = (probes.people_or_ids, training.people_or_ids)
    return best_of_others(probes.vectors, people[0], training.vectors, people[1], own, correction, cohort.backend)[1]


def candidate_threshold(best: Floats, others: Floats, fpir: float) -> CandidateThreshold:
    """The score that a real person reaches against *other* training people (N,) with probability ``fpir`` a search, and
    how many synthetic pictures' best (Q,) lie above."""
    line, fpir = fpir_threshold(others, fpir)
    expected = expected_above(round(fpir * (len(others) + 1)), len(others) + 1, len(best))
    return CandidateThreshold(line, fpir, len(others), int((best > line).sum()), expected)


def rank_candidates(
    synthetic: Embedded, training: RealSide, line: CandidateThreshold | None
) -> tuple[tuple[PersonFinding, ...], tuple[IdentityFinding, ...]]:
    """Training people and synthetic identities by their best pair; those above the line are marked."""
    exposed = training.exposure()
    above = exposed.score > (np.inf if line is None else line.score)
    people = tuple(
        replace(best_pair(exposed, i, synthetic, training), significant_by=("open-set threshold",) if above[i] else ())
        for i in np.lexsort((np.arange(len(exposed)), -exposed.score))
    )
    names, codes = person_codes(synthetic.people_or_ids)
    row, score, channel = training.closest
    best = best_of_each(codes, score)
    n_images = np.bincount(codes)
    identities = tuple(
        IdentityFinding(
            identity=names[i],
            score=float(score[best[i]]),
            q=None,
            n_images=int(n_images[i]),
            synthetic_id=synthetic.ids[best[i]],
            training_id=training.images.ids[row[best[i]]],
            channel=synthetic.channels[channel[best[i]]],
            significant=line is not None and bool(score[best[i]] > line.score),
        )
        for i in np.lexsort((np.arange(len(names)), -score[best]))
    )
    return people, identities
