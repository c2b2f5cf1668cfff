"""What can be said with a control set: who is exposed beyond what chance does to people the generator never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unveil.analysis.cohort import channel_context, find_overlap, split_off_cohort
from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.analysis.findings import ControlState, Findings
from unveil.analysis.inference import Inference, ScoreTests
from unveil.analysis.input_checks import check_control
from unveil.analysis.matching import Matching, Subsample, match_control_people
from unveil.analysis.scores import COSINE, RealSide, score_side
from unveil.analysis.uncalibrated import rank_candidates
from unveil.config.settings import Settings
from unveil.results.audit import Balance, Calibration, Membership, PersonFinding, Stability, Stratum
from unveil.stats.conformal import min_significant
from unveil.stats.false_matches import FalseMatches, false_matches
from unveil.stats.hubness import person_codes
from unveil.stats.input_checks import Check
from unveil.stats.intervals import share
from unveil.stats.membership import FPRS, auc_estimate, roc, tpr_at_fpr
from unveil.stats.person_tests import exposed
from unveil.stats.target_decoy import Competition
from unveil.stats.verdict import calibrated_verdict
from unveil.types import Embedded, Matches

# Where only some pictures take part, a query's best allowed match should be among its top matches this often.
ANSWERED = 0.99
MAX_DEPTH = 64


def analyse_with_control(
    synthetic: Embedded,
    training: Embedded,
    given_control: Embedded,
    raw: Matches,
    input_checks: Sequence[Check],
    compare: Comparisons,
    settings: Settings,
) -> Findings:
    """The audit with a control set, from the raw matches of synthetic with training pictures to a verdict."""
    overlap = find_overlap(training, given_control, compare, settings.random("overlap"))
    control, cohort = split_off_cohort(
        given_control.take(overlap.keep), settings.cohort_share, settings.random("cohort"), compare.backend
    )
    contexts = {
        channel: channel_context(synthetic.through(channel), cohort.through(channel)) for channel in synthetic.channels
    }
    depth = _depth(training, control, settings)
    training_side = score_side("training", training, raw, contexts, compare, depth)
    if not len(control):
        checks = (*input_checks, *check_control(overlap, 0, None))
        people, identities = rank_candidates(synthetic, training_side, None)
        return Findings("inconclusive", (), checks, people, identities, training_side, contexts)

    raw_control = compare.ranked(Comparison("cosine", FIRST_CHANNEL, "control"), synthetic, control, top_k=1)
    control_side = score_side("control", control, raw_control, contexts, compare, depth)
    rng = settings.random("calibration")
    matching, draw, balance = match_control_people(training_side, control_side, settings, rng)
    checks = (*input_checks, *check_control(overlap, len(set(control.people_or_ids)), balance))
    judge = Inference(synthetic, contexts, training_side, control_side, settings, compare.backend)
    together, cosine = judge.by_score(draw), judge.by_score(draw, COSINE)
    channels = judge.by_channel(draw, together)
    people = judge.people(together, channels, cosine)
    competition, wins = judge.compete(draw)
    identities = judge.identities(competition, wins)
    verdict, evidence = calibrated_verdict(
        checks,
        together.decision.global_test.p_value,
        settings.global_level,
        sum("conformal" in p.significant_by for p in people),
        sum("GPD tail" in p.significant_by for p in people),
        sum(i.significant for i in identities),
    )
    stability, listed_in = judge.repeat(matching, draw, together, competition)
    return Findings(
        verdict,
        evidence,
        checks,
        tuple(replace(p, resamples_significant=listed_in.get(p.person, 0)) for p in people),
        identities,
        training_side,
        contexts,
        calibration=_calibration(
            *(
                together,
                channels,
                cosine,
                competition,
                balance,
                stability,
                sum(bool(p.significant_by) for p in people),
            ),
            strata=_strata(matching, draw, balance.strata, people),
            false_matches=_false_matches(training_side, control_side, settings.random("accidental")),
            q=settings.fdr,
            rng=rng,
        ),
        control_pairs=len(synthetic) * len(control),
        ground=ControlState(control_side, draw),
    )


def _calibration(
    together: ScoreTests,
    channels: Mapping[str, ScoreTests],
    cosine: ScoreTests,
    competition: Competition,
    balance: Balance,
    stability: Stability,
    n_listed: int,
    *,
    strata: tuple[Stratum, ...],
    false_matches: tuple[FalseMatches, ...],
    q: float,
    rng: np.random.Generator,
) -> Calibration:
    """Everything that the control people say, in one record."""
    training, control = together.training, together.control
    scores = {"hub-corrected": together, COSINE: cosine}
    if len(channels) > 1:
        each = {f"{channel} alone": judged for channel, judged in channels.items()}
        scores = {"all channels": together, **each, COSINE: cosine}
    return Calibration(
        training=training,
        control=control,
        decision=together.decision,
        exposed=exposed(training.score, control.score, n_listed),
        competition=competition,
        membership=tuple(_membership(name, judged, q, rng) for name, judged in scores.items()),
        min_people_conformal=min_significant(len(training), len(control), q),
        smallest_p=1 / (len(control) + 1),
        roc=roc(training.score, control.score),
        balance=balance,
        strata=strata,
        stability=stability,
        false_matches=false_matches,
    )


def _membership(name: str, judged: ScoreTests, q: float, rng: np.random.Generator) -> Membership:
    training, control = judged.training.score, judged.control.score
    return Membership(
        score=name,
        auc=auc_estimate(training, control, rng),
        tpr_at_fpr={f"{fpr:g}": tpr_at_fpr(training, control, fpr) for fpr in FPRS},
        global_p=judged.decision.global_test.p_value,
        significant_conformal=int(judged.decision.conformal(q).sum()),
        significant_gpd=int(judged.decision.gpd(q).sum()),
    )


def _depth(training: Embedded, control: Embedded, settings: Settings) -> int:
    """How many matches of a synthetic picture are kept: so many that one of them nearly always takes part in a draw."""
    counts = [np.bincount(person_codes(side.people_or_ids)[1]) for side in (training, control) if len(side)]
    if len(counts) < 2:
        return settings.top_k
    # Pictures a person that the other side can match, by quantile: the part of each side that a draw holds.
    places = (np.arange(1000) + 0.5) / 1000
    matched = np.minimum(*(np.quantile(c, places) for c in counts))
    part = min(float(matched.mean() / c.mean()) for c in counts)
    if part >= 1:
        return settings.top_k
    return max(settings.top_k, min(MAX_DEPTH, int(np.ceil(np.log(1 - ANSWERED) / np.log(1 - part)))))


def _strata(
    matching: Matching, draw: Subsample, names: tuple[str, ...], people: tuple[PersonFinding, ...]
) -> tuple[Stratum, ...]:
    """How the people of each label fared."""
    if not names:
        return ()
    significant = {p.person for p in people if p.significant_by}
    found = []
    taking_part = []
    for side, rows, strata in zip(
        (matching.training, matching.control), (draw.training, draw.control), matching.strata, strict=True
    ):
        everybody, codes = side.people
        present = np.unique(codes[rows])
        taking_part.append((np.array(everybody, object)[present], strata[present]))
    (people_t, strata_t), (_, strata_c) = taking_part
    for i, name in enumerate(names):
        own = people_t[strata_t == i]
        n_listed = sum(person in significant for person in own)
        found.append(Stratum(name, int((strata_c == i).sum()), share(n_listed, len(own), "share of people listed")))
    return tuple(found)


def _false_matches(training: RealSide, control: RealSide, rng: np.random.Generator) -> tuple[FalseMatches, ...]:
    """Matches by raw cosine above the lines that the closest pairs of control people set."""
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
