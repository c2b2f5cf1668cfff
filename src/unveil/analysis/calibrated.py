"""The analysis with a control set: who is more exposed than people the generator never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import (
    ChannelContext,
    RealCorrection,
    channel_context,
    people_corrections,
    pooled_cohort,
    synthetic_corrections,
)
from unveil.analysis.comparisons import FIRST_CHANNEL, Comparisons
from unveil.analysis.findings import ControlState, Findings
from unveil.analysis.held_out import check_held_out
from unveil.analysis.identities import mean_identities, measure_cohesion
from unveil.analysis.inference import HUB_CORRECTED, Inference, ScoreTests, alone
from unveil.analysis.input_checks import check_control
from unveil.analysis.learned import learn_score
from unveil.analysis.matching import Matching, MatchMode, Subsample, match_control_people
from unveil.analysis.near_duplicates import NO_NEAR_DUPLICATES, explain_away, find_near_duplicates
from unveil.analysis.overlap import find_overlap
from unveil.analysis.scores import COSINE, RealSide, corrected_again, score_side, with_common_scale
from unveil.analysis.searches import can_be_searched, improbable_pairs
from unveil.analysis.uncalibrated import analyse_without_control, ranked_only
from unveil.choices import NO_LEAK
from unveil.embedding.images import ImageReader
from unveil.results import (
    Balance,
    Calibration,
    DetectionLimit,
    Exposures,
    GPDFit,
    IdentityCompetition,
    IdentityEvidence,
    LearnedScore,
    Membership,
    PersonFinding,
    Stability,
    Stratum,
)
from unveil.stats.checks import Check
from unveil.stats.conformal import min_significant
from unveil.stats.enrichment import ALL_CHANNELS, GlobalTest, global_test_by_any
from unveil.stats.exposed_share import exposed_share
from unveil.stats.exposure import counts_differ
from unveil.stats.false_matches import FalseMatches, false_matches
from unveil.stats.hubness import person_codes
from unveil.stats.intervals import share
from unveil.stats.membership import FPRS, auc_estimate, not_resolved, resolves, tpr_at_fpr
from unveil.stats.person_tests import exposed
from unveil.stats.statements import AGAINST_CONTROL, WITHOUT_CONTROL
from unveil.stats.strata import concentration_p
from unveil.stats.tail import Tail
from unveil.stats.target_decoy import Competition
from unveil.stats.verdict import blocked, calibrated_evidence, calibrated_verdict
from unveil.types import Embedded, Floats, Generators, Ints, Matches, Role

# Where a subsample is tested, the best tested match of a synthetic image is among its stored matches this often.
COVERAGE = 0.99
MAX_DEPTH = 64


def analyse_with_control(
    synthetic: Embedded,
    training: Embedded,
    all_control: Embedded,
    input_checks: Sequence[Check],
    compare: Comparisons,
    generators: Generators,
    *,
    fdr: float,
    global_level: float,
    match_controls: MatchMode,
    strata: Mapping[str, str],
    resamples: int,
    learned: bool = False,
    images: Mapping[Role, ImageReader] | None = None,
    workers: int = 0,
) -> Findings:
    """The analysis from vectors to a verdict.

    ``fdr`` is the false discovery rate of people and identities, ``global_level`` the level of the global test.
    ``strata`` are labels of people. With ``learned``, people are tested by the learned score too. Near-duplicates are
    looked for in ``images``; None where embeddings were given.
    """
    searchable = can_be_searched(training)

    def without_control(checks: Sequence[Check], balance: Balance | None, raw: Matches | None = None) -> Findings:
        """The statement that needs no control set, beside the reason why the control set cannot be used."""
        why = "the control set cannot be used: " + "; ".join(_unusable(checks))
        found = analyse_without_control(
            *(synthetic, training, checks, compare), fdr=fdr, global_level=global_level, why=why, raw=raw
        )
        return replace(found, balance=balance, overlap=overlap.removed)

    overlap = find_overlap(training, all_control, images, compare, workers)
    control = all_control.take(overlap.rows)
    compare.progress.start("measuring hubness", 0, "")
    cohort = pooled_cohort(training, control, compare.backend)
    identities = mean_identities(synthetic)
    cohesion = {channel: measure_cohesion(synthetic.through(channel), identities) for channel in synthetic.channels}
    contexts = {
        channel: channel_context(
            *(synthetic.through(channel), cohort.through(channel)),
            *(identities.through(channel) if found.holds else None, found.handicap),
        )
        for channel, found in cohesion.items()
    }
    depth = _depth(training, control, compare.top_k, may_select=bool(strata) or training.quality is not None)
    if not len(control):
        checks = (*input_checks, *check_control(overlap, 0, None))
        if searchable:
            return without_control(checks, None)
        training_side = score_side("training", training, contexts, compare, depth)
        return replace(ranked_only(synthetic, training_side, contexts, checks), overlap=overlap.removed)

    contexts, training_side, control_side = _score_both(contexts, training, control, compare, depth, images, workers)
    rng = generators("calibration")
    matching, subsample, balance = match_control_people(training_side, control_side, strata, match_controls, rng)
    checks = (*input_checks, *check_control(overlap, len(control.people_or_ids.coded()[0]), balance))
    if searchable and _unusable(checks):
        return without_control(checks, balance, training_side.raw)

    compare.progress.start("testing people and identities", 0, "")
    inference = Inference(synthetic, contexts, training_side, control_side, fdr, compare.backend)
    tests = _tests(inference, subsample)
    of_group = inference.of_group(subsample, tests.all_channels)
    group = global_test_by_any(of_group)
    people = inference.people(tests.all_channels, tests.by_channel, tests.cosine)
    competition, matches = inference.compete(subsample)
    identity_findings = inference.identities(competition, matches)
    learned_score, by_learned_score = None, frozenset[str]()
    if learned:
        tested = tests.all_channels.training, tests.all_channels.control
        learned_score, by_learned_score = learn_score(
            *(contexts, (training_side, control_side), tested, matching, subsample, checks, fdr, compare.backend)
        )
        people = tuple(
            replace(p, significant_by=(*p.significant_by, "learned score")) if p.person in by_learned_score else p
            for p in people
        )
    found = calibrated_evidence(
        group.p_value,
        global_level,
        sum("conformal" in p.significant_by for p in people),
        sum("GPD tail" in p.significant_by for p in people),
        sum(i.significant for i in identity_findings),
        len(by_learned_score),
    )
    verdict, evidence = calibrated_verdict(checks, found)
    if verdict in NO_LEAK:
        held_out = check_held_out(
            *(synthetic, control_side, checks, compare), with_images=images is not None, scored_by=contexts
        )
        checks = (*checks, *held_out)
        verdict, evidence = calibrated_verdict(checks, found)
    stability, times_significant = inference.repeat(
        *(matching, subsample, tests.all_channels, group, competition), generators, global_level, resamples
    )
    if by_learned_score:  # everything is tested, so there is one resample: the audit itself
        n_people = sum(bool(p.significant_by) for p in people)
        stability = replace(stability, people_significant=(n_people,), leak_found=1)
        times_significant |= dict.fromkeys(by_learned_score, 1)
    return Findings(
        verdict,
        evidence,
        checks,
        tuple(replace(p, resamples_significant=times_significant.get(p.person, 0)) for p in people),
        identity_findings,
        training_side,
        contexts,
        calibration=_calibration(
            *(tests, of_group, group, competition, balance, stability),
            n_significant=sum(bool(p.significant_by) for p in people),
            strata=_strata(matching, subsample, balance.strata, people),
            false_matches=_false_matches(training_side, control_side, generators("accidental")),
            identity_evidence=tuple(
                IdentityEvidence(c.channel, len(identities), c.figure, c.holds, c.handicap) for c in cohesion.values()
            ),
            fdr=fdr,
            rng=rng,
            share_rng=generators("exposed share"),
            learned_score=learned_score,
        ),
        control_pairs=len(synthetic) * len(control),
        control=ControlState(control_side, subsample),
        exposures=Exposures(tests.all_channels.training, tests.all_channels.control),
        tests=tests.all_channels.decision,
        overlap=overlap.removed,
    ).with_improbable(improbable_pairs(synthetic, training, training_side.raw, compare.backend), len(synthetic))


def _unusable(checks: Sequence[Check]) -> list[str]:
    """Why tests against control people are unreliable, though searches of training people are not."""
    failed = [check for check in checks if check.status == "fail"]
    if blocked(failed).isdisjoint(AGAINST_CONTROL[:1]) or not blocked(failed).isdisjoint(WITHOUT_CONTROL):
        return []
    return [check.message for check in failed if AGAINST_CONTROL[0] in check.invalidates]


def _score_both(
    contexts: Mapping[str, ChannelContext],
    training: Embedded,
    control: Embedded,
    compare: Comparisons,
    depth: int,
    images: Mapping[Role, ImageReader] | None,
    workers: int,
) -> tuple[dict[str, ChannelContext], RealSide, RealSide]:
    """The scores of both sides on one scale.

    Each set is compared once by the face channel, raw and hub-corrected. Near-duplicates are then looked for. The
    synthetic images that they explain take no part in the hub correction of the face channel. The real images whose
    correction that changes are compared again.
    """
    face = contexts[FIRST_CHANNEL]
    sides = (training.through(FIRST_CHANNEL), control.through(FIRST_CHANNEL))
    corrections = (
        people_corrections(contexts, training, "training"),
        people_corrections(contexts, control, "control"),
    )
    by_people = (corrections[0][FIRST_CHANNEL].by_people, corrections[1][FIRST_CHANNEL].by_people)

    def of_score(explained: Ints) -> tuple[Floats, Floats]:
        return synthetic_corrections(face.synthetic, sides, by_people, explained, compare.backend)

    for own, people, score in zip(corrections, by_people, of_score(NO_NEAR_DUPLICATES.explained), strict=True):
        own[FIRST_CHANNEL] = RealCorrection(people, score)

    def scored(
        channels: Mapping[str, ChannelContext], raw: tuple[Matches, Matches] | None = None, *, spare: bool = False
    ) -> tuple[RealSide, RealSide]:
        of_training, of_control = (None, None) if raw is None else raw
        arguments = (channels, compare, depth)
        return (
            score_side("training", training, *arguments, raw=of_training, corrections=corrections[0], spare=spare),
            score_side("control", control, *arguments, raw=of_control, corrections=corrections[1], spare=spare),
        )

    by_face = scored({FIRST_CHANNEL: face}, spare=images is not None)
    others = scored(
        {channel: context for channel, context in contexts.items() if channel != FIRST_CHANNEL},
        (by_face[0].raw, by_face[1].raw),
    )
    near = NO_NEAR_DUPLICATES
    if images is not None:
        near = find_near_duplicates(*others, images, compare.progress, workers)
        first = (corrections[0][FIRST_CHANNEL].of_score, corrections[1][FIRST_CHANNEL].of_score)
        again = of_score(near.explained) if len(near.explained) else first
        by_face = (
            corrected_again("training", by_face[0], face, again[0], compare, depth),
            corrected_again("control", by_face[1], face, again[1], compare, depth),
        )
    both = [
        replace(other, by_channel={c: {**own.by_channel, **other.by_channel}[c] for c in contexts})
        for other, own in zip(others, by_face, strict=True)
    ]
    return with_common_scale(contexts, *explain_away(near, contexts, both[0], both[1], compare.backend))


@dataclass(frozen=True)
class _Tests:
    """The tests of every score: the highest over all channels, each channel alone, and the raw cosine."""

    all_channels: ScoreTests
    by_channel: Mapping[str, ScoreTests]
    cosine: ScoreTests

    def by_name(self) -> dict[str, ScoreTests]:
        """The tests by the name of the score in the report, the deciding one first."""
        if len(self.by_channel) == 1:
            return {HUB_CORRECTED: self.all_channels, COSINE: self.cosine}
        by_channel = {alone(channel): tests for channel, tests in self.by_channel.items()}
        return {ALL_CHANNELS: self.all_channels, **by_channel, COSINE: self.cosine}


def _tests(inference: Inference, subsample: Subsample) -> _Tests:
    all_channels, cosine = inference.by_score(subsample), inference.by_score(subsample, COSINE)
    return _Tests(all_channels, inference.by_channel(subsample, all_channels), cosine)


def _calibration(
    tests: _Tests,
    of_group: Mapping[str, tuple[Floats, Floats]],
    group: GlobalTest,
    competition: Competition,
    balance: Balance,
    stability: Stability,
    *,
    n_significant: int,
    strata: tuple[Stratum, ...],
    false_matches: tuple[FalseMatches, ...],
    identity_evidence: tuple[IdentityEvidence, ...],
    fdr: float,
    rng: np.random.Generator,
    share_rng: np.random.Generator,
    learned_score: LearnedScore | None,
) -> Calibration:
    """Everything that is measured with the control people, in one record."""
    training, control, decision = (
        *(tests.all_channels.training, tests.all_channels.control, tests.all_channels.decision),
    )
    exposed_people = exposed(list(of_group.values()), n_significant)
    return Calibration(
        exposed_people=exposed_people,
        exposed_share=exposed_share(*tests.all_channels.tested, int(exposed_people.low), share_rng),
        global_test=group,
        detection_limit=DetectionLimit(
            smallest_p_conformal=1 / (len(control) + 1),
            min_people_conformal=min_significant(len(training), len(control), fdr, decision.chance_share),
            min_identities=competition.min_significant,
            tail=None if decision.tail is None else _gpd_fit(decision.tail),
            chance_share=decision.chance_share,
        ),
        identity_competition=IdentityCompetition(competition.target_wins, competition.decoy_wins, competition.ratio),
        identity_evidence=identity_evidence,
        membership=tuple(_membership(name, of_score, fdr, rng) for name, of_score in tests.by_name().items()),
        balance=balance,
        strata=strata,
        stability=stability,
        false_matches=false_matches,
        learned_score=learned_score,
    )


def _gpd_fit(tail: Tail) -> GPDFit:
    return GPDFit(
        threshold=tail.threshold,
        n_exceedances=tail.n_exceedances,
        n_controls=tail.n_controls,
        shape=tail.shape,
        scale=tail.scale,
        fit_p=tail.fit_p,
        smallest_p=tail.smallest_p,
    )


def _membership(name: str, tests: ScoreTests, fdr: float, rng: np.random.Generator) -> Membership:
    training, control = tests.training.score, tests.control.score
    return Membership(
        score=name,
        auc=auc_estimate(training, control, rng),
        tpr_at_fpr={
            f"{fpr:g}": tpr_at_fpr(training, control, fpr) if resolves(fpr, len(control)) else None for fpr in FPRS
        },
        not_resolved=not_resolved(len(control)),
        global_p=tests.decision.global_test.p_value,
        significant_conformal=int(tests.decision.conformal(fdr).sum()),
        significant_gpd=int(tests.decision.gpd(fdr).sum()),
    )


def _depth(training: Embedded, control: Embedded, top_k: int, *, may_select: bool) -> int:
    """How many matches of a synthetic image are stored, so that one of them is nearly always in a subsample.

    The best is enough where all images are tested: ``may_select`` says whether some people may not be.
    """
    counts = [np.bincount(person_codes(side.people_or_ids)[1]) for side in (training, control) if len(side)]
    if len(counts) < 2 or not (may_select or counts_differ(*counts)):
        return 1
    # Images per person that both sides can match, by quantile: the part of each side that a subsample holds.
    quantiles = (np.arange(1000) + 0.5) / 1000
    matched = np.minimum(*(np.quantile(c, quantiles) for c in counts))
    part = min(float(matched.mean() / c.mean()) for c in counts)
    if part >= 1:
        return top_k
    return max(top_k, min(MAX_DEPTH, int(np.ceil(np.log(1 - COVERAGE) / np.log(1 - part)))))


def _strata(
    matching: Matching, subsample: Subsample, names: tuple[str, ...], people: tuple[PersonFinding, ...]
) -> tuple[Stratum, ...]:
    """The tested people of each stratum, and the share of them who are significant."""
    if not names:
        return ()
    significant = {p.person for p in people if p.significant_by}
    tested = []
    for side, rows, strata in zip(
        (matching.training, matching.control), (subsample.training, subsample.control), matching.strata, strict=True
    ):
        everybody, codes = side.people
        present = np.unique(codes[rows])
        tested.append((everybody.take(present), strata[present]))
    (people_t, strata_t), (_, strata_c) = tested
    n_tested = [int((strata_t == i).sum()) for i in range(len(names))]
    of_stratum = [people_t.take(np.flatnonzero(strata_t == i)) for i in range(len(names))]
    n_found = [sum(person in significant for person in people) for people in of_stratum]
    of_each = zip(names, n_tested, n_found, concentration_p(n_found, n_tested), strict=True)
    return tuple(
        Stratum(name, int((strata_c == i).sum()), share(found, tested, "share of people who are significant"), p)
        for i, (name, tested, found, p) in enumerate(of_each)
    )


def _false_matches(training: RealSide, control: RealSide, rng: np.random.Generator) -> tuple[FalseMatches, ...]:
    """Matches by raw cosine above the thresholds that the closest pairs of control people set."""
    raw, people_t, people_c = training.raw, training.people[1], control.people[1]
    return false_matches(
        control.raw.top_pairs_cosine,
        people_c[control.raw.top_pairs[:, 1]],
        int(people_c.max()) + 1,
        control.raw.n_compared,
        raw.top_pairs_cosine,
        raw.top_pairs[:, 1],
        people_t[raw.top_pairs[:, 1]],
        raw.n_compared,
        rng,
    )
