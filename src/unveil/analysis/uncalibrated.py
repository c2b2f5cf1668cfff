"""The analysis without a control set: chance is what real people reach with other real people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unveil.analysis.cohort import ChannelContext, channel_context, pooled_cohort
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings, best_pair
from unveil.analysis.scores import RealSide, score_side
from unveil.analysis.searches import can_be_searched, improbable_pairs, search, shared_files_check
from unveil.columns import Labels, People, Texts
from unveil.results import IdentityFindings, PersonFinding
from unveil.stats.checks import Check
from unveil.stats.hubness import best_of_each, n_agreeing, person_codes
from unveil.stats.verdict import blocked, search_verdict
from unveil.types import Embedded, Matches

NO_CONTROL_SET = "there is no control set"


def analyse_without_control(
    synthetic: Embedded,
    training: Embedded,
    checks: Sequence[Check],
    compare: Comparisons,
    *,
    fdr: float,
    global_level: float,
    why: str = NO_CONTROL_SET,
    raw: Matches | None = None,
) -> Findings:
    """The analysis from vectors to a verdict.

    ``fdr`` is the false discovery rate of people and identities, ``global_level`` the level of the crowd test.
    ``why`` says why no control people are used. ``raw`` are the matches of synthetic with training images by
    uncorrected cosine, where they are known.
    """
    cohort = pooled_cohort(training, None, compare.backend)
    searched = can_be_searched(training)
    contexts = {
        channel: channel_context(synthetic.through(channel), cohort.through(channel), for_search=searched)
        for channel in synthetic.channels
    }
    # A person who is searched for may be the closest cohort person of their match, which a synthetic image never is.
    side = score_side("training", training, contexts, compare, 1, raw=raw, skip_best=True)
    found = search(synthetic, side, contexts, labels_hold="identities" not in blocked(checks))
    if found is None:
        return ranked_only(synthetic, side, contexts, checks)
    improbable = improbable_pairs(synthetic, training, side.raw, compare.backend)
    checks = (*checks, *shared_files_check(training))
    verdict, evidence = search_verdict(checks, found.evidence(fdr, global_level))
    return Findings(
        *(verdict, evidence, tuple(checks)),
        *(found.people(synthetic, fdr), found.identities(synthetic, fdr)),
        *(found.side, found.contexts),
        no_control=found.statement(why),
    ).with_improbable(improbable, len(synthetic))


def ranked_only(
    synthetic: Embedded, training: RealSide, contexts: Mapping[str, ChannelContext], checks: Sequence[Check]
) -> Findings:
    """The findings where nothing shows what chance is: people and identities by their best pair, and no verdict."""
    scaled = {channel: context.on_cohort_scale() for channel, context in contexts.items()}
    side = training.rescaled(scaled)
    return Findings("inconclusive", (), tuple(checks), *rank(synthetic, side), side, scaled)


def rank(synthetic: Embedded, training: RealSide) -> tuple[tuple[PersonFinding, ...], IdentityFindings]:
    """Training people and synthetic identities by their best pair, without p and q."""
    exposed = training.exposure()
    order = np.lexsort((np.arange(len(exposed)), -exposed.score))
    people = tuple(best_pair(exposed, i, synthetic, training) for i in order)
    names, codes = person_codes(synthetic.people_or_ids)
    row, score, channel = training.closest
    best = best_of_each(codes, score)
    n_images = np.bincount(codes)
    person = training.people[1][row]
    agreeing = n_agreeing(codes, person, best)
    order = np.argsort(-score[best], kind="stable")
    best = best[order]
    identities = IdentityFindings(
        identity=names.take(order),
        score=score[best],
        q=None,
        n_images=n_images[order],
        n_agreeing=agreeing[order],
        synthetic_id=synthetic.ids.take(best),
        training_id=Labels(training.images.ids, row[best]),
        channel=People(Texts(list(synthetic.channels)), channel[best]),
        significant=np.zeros(len(order), np.bool_),
    )
    return people, identities
