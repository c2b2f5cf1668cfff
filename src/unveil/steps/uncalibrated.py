"""What can be said without a control set: candidates, by how well real people match other real people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unveil.compare import best_of_others
from unveil.config import Settings
from unveil.result import CandidateLine, IdentityFinding, PersonFinding
from unveil.stats.exposure import exposures
from unveil.stats.hubs import best_of_each, person_codes
from unveil.stats.hygiene import Check
from unveil.stats.search import expected_above, fpir_threshold
from unveil.stats.verdict import uncalibrated_verdict
from unveil.steps.comparer import Comparer
from unveil.steps.findings import Findings, best_pair
from unveil.steps.prepare import FEWEST_PROBES, MOST_PROBES, Cohort, one_picture_each, split_off_cohort
from unveil.types import Embedded, Floats, Matches


def judge(
    synthetic: Embedded, training: Embedded, checks: Sequence[Check], compare: Comparer, settings: Settings
) -> Findings:
    """The audit without a control set: training people are the cohort, and other ones of them the null."""
    others, cohort = split_off_cohort(training, settings.cohort_share, settings.random("cohort"), compare.engine)
    on_synthetic, on_training = cohort.correction(synthetic, skip_best=True), cohort.correction(training)
    corrected = compare.ranked("synthetic with training, hub-corrected", synthetic, training, on_synthetic, on_training)
    line = candidate_line(corrected, others, training, on_training, cohort, settings)
    people, identities = candidates(synthetic, training, corrected, line)
    verdict, rests_on = uncalibrated_verdict(checks, None if line is None else line.n_above)
    return Findings(verdict, rests_on, tuple(checks), people, identities, corrected, line=line)


def candidate_line(
    synthetic: Matches,
    not_in_cohort: Embedded,
    training: Embedded,
    correction: Floats,
    cohort: Cohort,
    settings: Settings,
) -> CandidateLine | None:
    """The score that a real person reaches against *other* training people with probability ``fpir`` a search.

    Searches are made for training people outside the cohort, as synthetic pictures are. None when the training set has
    no person labels, or too few people: then nothing says which pictures are of others.
    """
    if all(person is None for person in training.people):
        return None
    rows = one_picture_each(not_in_cohort.people_or_ids, settings.random("line"), MOST_PROBES)
    if len(rows) < FEWEST_PROBES:
        return None
    probes = not_in_cohort.take(rows)
    # As for synthetic pictures: the best match does not count towards a probe's own closeness.
    own = cohort.correction(probes, skip_best=True)
    _, others = best_of_others(
        probes.vectors, probes.people_or_ids, training.vectors, training.people_or_ids, own, correction, cohort.engine
    )
    line, fpir = fpir_threshold(others, settings.fpir)
    best = synthetic.score[:, 0]
    expected = expected_above(round(fpir * (len(others) + 1)), len(others) + 1, len(best))
    return CandidateLine(line, fpir, len(others), int((best > line).sum()), expected)


def candidates(
    synthetic: Embedded, training: Embedded, matches: Matches, line: CandidateLine | None
) -> tuple[tuple[PersonFinding, ...], tuple[IdentityFinding, ...]]:
    """Training people and synthetic identities by their best pair; those above the line are marked."""
    exposed = exposures(training.people_or_ids, matches.best_query, matches.best_query_score, matches.best_query_cosine)
    above = exposed.score > (np.inf if line is None else line.score)
    people = tuple(
        replace(best_pair(exposed, i, synthetic, training), listed_by=("leave-person-out line",) if above[i] else ())
        for i in np.lexsort((np.arange(len(exposed)), -exposed.score))
    )
    names, codes = person_codes(synthetic.people_or_ids)
    score = matches.score[:, 0]
    best = best_of_each(codes, score)
    n_images = np.bincount(codes)
    identities = tuple(
        IdentityFinding(
            identity=names[i],
            score=float(score[best[i]]),
            q=None,
            n_images=int(n_images[i]),
            synthetic_id=synthetic.ids[best[i]],
            training_id=training.ids[matches.rows[best[i], 0]],
            listed=line is not None and bool(score[best[i]] > line.score),
        )
        for i in np.lexsort((np.arange(len(names)), -score[best]))
    )
    return people, identities
