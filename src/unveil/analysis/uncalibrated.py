"""The analysis without a control set: candidates, by how well real people match other real people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unveil.analysis.cohort import (
    MAX_PROBES,
    MIN_PROBES,
    Cohort,
    channel_context,
    one_image_per_person,
    pooled_cohort,
)
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings, best_pair
from unveil.analysis.scores import RealSide, score_side
from unveil.compare import best_of_others
from unveil.results import CandidateThreshold, IdentityFinding, PersonFinding
from unveil.stats.checks import Check
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.open_set import expected_above, fpir_threshold
from unveil.stats.score_scale import fit_score_scale, max_over_channels
from unveil.stats.verdict import uncalibrated_verdict
from unveil.types import Embedded, Floats, Generators, Matches


def analyse_without_control(
    synthetic: Embedded,
    training: Embedded,
    raw: Matches,
    checks: Sequence[Check],
    compare: Comparisons,
    generators: Generators,
    *,
    fpir: float,
) -> Findings:
    """The analysis from the raw matches of synthetic with training images to a verdict.

    Training people are searched among the others, and set the open-set threshold at a false positive identification
    rate of ``fpir``.
    """
    cohort = pooled_cohort(training, None, compare.backend)
    contexts = {
        channel: channel_context(synthetic.through(channel), cohort.through(channel)) for channel in synthetic.channels
    }
    # A person who is searched for may be the closest cohort person of their match, which a synthetic image never is.
    side = score_side("training", training, raw, contexts, compare, compare.top_k, skip_best=True)
    probes, threshold = _probes(training, generators("line")), None
    if probes is not None:
        searches = {
            channel: _search(
                probes.through(channel), training.through(channel), matches.correction, contexts[channel].cohort
            )
            for channel, matches in side.by_channel.items()
        }
        by_channel = {
            channel: replace(matches, scale=fit_score_scale(searches[channel]))
            for channel, matches in side.by_channel.items()
        }
        side = replace(side, by_channel=by_channel)
        _, best = max_over_channels([by_channel[channel].scale.of(score) for channel, score in searches.items()])
        threshold = candidate_threshold(side.closest[1], best, fpir)
    people, identities = rank_candidates(synthetic, side, threshold)
    verdict, evidence = uncalibrated_verdict(checks, None if threshold is None else threshold.n_above)
    return Findings(verdict, evidence, tuple(checks), people, identities, side, contexts, candidate_threshold=threshold)


def _probes(training: Embedded, rng: np.random.Generator) -> Embedded | None:
    """Training people to search among the others, one image each.

    None when no image has a person label or there are too few people: strangers are then unknown.
    """
    if all(person is None for person in training.people):
        return None
    rows = one_image_per_person(training.people_or_ids, rng, MAX_PROBES)
    return None if len(rows) < MIN_PROBES else training.take(rows)


def _search(probes: Embedded, training: Embedded, correction: Floats, cohort: Cohort) -> Floats:
    """The best score (N,) of each probe among *other* training people, computed as for synthetic images."""
    # As for synthetic images, the best match does not count in a probe's own closeness.
    own = cohort.correction(probes, "training", skip_best=True)
    people = (probes.people_or_ids, training.people_or_ids)
    return best_of_others(probes.vectors, people[0], training.vectors, people[1], own, correction, cohort.backend)[1]


def candidate_threshold(best: Floats, other_scores: Floats, fpir: float) -> CandidateThreshold:
    """The open-set threshold, and how many synthetic images exceed it with their best score (Q,).

    A search of a real person among *other* training people (N,) exceeds it with probability ``fpir``.
    """
    threshold, fpir = fpir_threshold(other_scores, fpir)
    expected = expected_above(round(fpir * (len(other_scores) + 1)), len(other_scores) + 1, len(best))
    return CandidateThreshold(threshold, fpir, len(other_scores), int((best > threshold).sum()), expected)


def rank_candidates(
    synthetic: Embedded, training: RealSide, threshold: CandidateThreshold | None
) -> tuple[tuple[PersonFinding, ...], tuple[IdentityFinding, ...]]:
    """Training people and synthetic identities by their best pair; those above the threshold are marked."""
    exposed = training.exposure()
    above = exposed.score > (np.inf if threshold is None else threshold.score)
    people = tuple(
        replace(best_pair(exposed, i, synthetic, training), significant_by=("open-set threshold",) if above[i] else ())
        for i in np.lexsort((np.arange(len(exposed)), -exposed.score))
    )
    names, codes = person_codes(synthetic.people_or_ids)
    row, score, channel = training.closest
    best = best_of_each(codes, score)
    n_images = np.bincount(codes)
    person = training.people[1][row]
    n_agreeing = np.bincount(codes, person == person[best][codes])
    identities = tuple(
        IdentityFinding(
            identity=names[i],
            score=float(score[best[i]]),
            q=None,
            n_images=int(n_images[i]),
            n_agreeing=int(n_agreeing[i]),
            synthetic_id=synthetic.ids[best[i]],
            training_id=training.images.ids[row[best[i]]],
            channel=synthetic.channels[channel[best[i]]],
            significant=threshold is not None and bool(score[best[i]] > threshold.score),
        )
        for i in np.lexsort((np.arange(len(names)), -score[best]))
    )
    return people, identities
