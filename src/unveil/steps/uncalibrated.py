"""What can be said without a control set: candidates, by how well real people match other real people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unveil.compare import best_of_others
from unveil.config import Settings
from unveil.result import CandidateLine, IdentityFinding, PersonFinding
from unveil.stats.hubs import best_of_each, person_codes
from unveil.stats.hygiene import Check
from unveil.stats.search import expected_above, fpir_threshold
from unveil.stats.standard import highest, standard_of
from unveil.stats.verdict import uncalibrated_verdict
from unveil.steps.comparer import Comparer
from unveil.steps.findings import Findings, best_pair
from unveil.steps.prepare import FEWEST_PROBES, MOST_PROBES, Cohort, lens, one_picture_each, split_off_cohort
from unveil.steps.sides import Side, see
from unveil.types import Embedded, Floats, Matches


def judge(
    synthetic: Embedded,
    training: Embedded,
    raw: Matches,
    checks: Sequence[Check],
    compare: Comparer,
    settings: Settings,
) -> Findings:
    """The audit without a control set: training people are the cohort, and other ones of them the null."""
    others, cohort = split_off_cohort(training, settings.cohort_share, settings.random("cohort"), compare.comparator)
    lenses = {
        channel: lens(synthetic.through(channel), cohort.through(channel), skip_best=True)
        for channel in synthetic.channels
    }
    side = see("training", training, raw, lenses, compare, settings.top_k)
    probes, line = _probes(others, settings), None
    if probes is not None:
        searches = {
            channel: _search(
                probes.through(channel), training.through(channel), sight.correction, lenses[channel].cohort
            )
            for channel, sight in side.sights.items()
        }
        sights = {
            channel: replace(sight, standard=standard_of(searches[channel])) for channel, sight in side.sights.items()
        }
        side = replace(side, sights=sights)
        _, found = highest([sights[channel].standard.of(score) for channel, score in searches.items()])
        line = candidate_line(side.closest[1], found, settings.fpir)
    people, identities = candidates(synthetic, side, line)
    verdict, rests_on = uncalibrated_verdict(checks, None if line is None else line.n_above)
    return Findings(verdict, rests_on, tuple(checks), people, identities, side, lenses, line=line)


def _probes(not_in_cohort: Embedded, settings: Settings) -> Embedded | None:
    """Training people outside the cohort to be searched among the others, one picture each.

    None when the training set has no person labels, or too few people: then nothing says which pictures are of others.
    """
    if all(person is None for person in not_in_cohort.people):
        return None
    rows = one_picture_each(not_in_cohort.people_or_ids, settings.random("line"), MOST_PROBES)
    return None if len(rows) < FEWEST_PROBES else not_in_cohort.take(rows)


def _search(probes: Embedded, training: Embedded, correction: Floats, cohort: Cohort) -> Floats:
    """The best score of each probe among *other* training people, searched for as synthetic pictures are."""
    # As for synthetic pictures: the best match does not count towards a probe's own closeness.
    own = cohort.correction(probes, skip_best=True)
    people = (probes.people_or_ids, training.people_or_ids)
    return best_of_others(probes.vectors, people[0], training.vectors, people[1], own, correction, cohort.comparator)[1]


def candidate_line(best: Floats, others: Floats, fpir: float) -> CandidateLine:
    """The score that a real person reaches against *other* training people (N,) with probability ``fpir`` a search, and
    how many synthetic pictures' best (Q,) lie above."""
    line, fpir = fpir_threshold(others, fpir)
    expected = expected_above(round(fpir * (len(others) + 1)), len(others) + 1, len(best))
    return CandidateLine(line, fpir, len(others), int((best > line).sum()), expected)


def candidates(
    synthetic: Embedded, training: Side, line: CandidateLine | None
) -> tuple[tuple[PersonFinding, ...], tuple[IdentityFinding, ...]]:
    """Training people and synthetic identities by their best pair; those above the line are marked."""
    exposed = training.exposure()
    above = exposed.score > (np.inf if line is None else line.score)
    people = tuple(
        replace(best_pair(exposed, i, synthetic, training), listed_by=("leave-person-out line",) if above[i] else ())
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
            training_id=training.pictures.ids[row[best[i]]],
            channel=synthetic.channels[channel[best[i]]],
            listed=line is not None and bool(score[best[i]] > line.score),
        )
        for i in np.lexsort((np.arange(len(names)), -score[best]))
    )
    return people, identities
