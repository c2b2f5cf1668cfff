"""What can be said with a control set: who is exposed beyond what chance does to people the generator never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unveil.config import Settings
from unveil.result import Calibration, Likeness, Membership, PersonFinding, Stability, Stratum
from unveil.stats.accidental import AccidentalMatches, accidental_matches
from unveil.stats.competition import Competition
from unveil.stats.conformal import fewest_listed
from unveil.stats.estimates import share
from unveil.stats.hubs import person_codes
from unveil.stats.hygiene import Check
from unveil.stats.membership import FPRS, auc_estimate, roc, tpr_at_fpr
from unveil.stats.people import exposed
from unveil.stats.verdict import calibrated_verdict
from unveil.steps.check import check_control
from unveil.steps.comparer import Comparer
from unveil.steps.findings import Findings, Ground
from unveil.steps.judge import ByScore, Judge
from unveil.steps.likeness import Draw, Matching, match
from unveil.steps.prepare import find_overlap, lens, split_off_cohort
from unveil.steps.sides import COSINE, Side, see
from unveil.steps.uncalibrated import candidates
from unveil.types import Embedded, Matches

# Where only some pictures take part, a query's best allowed match should be among its top matches this often.
ANSWERED = 0.99
DEEPEST = 64


def judge(
    synthetic: Embedded,
    training: Embedded,
    given_control: Embedded,
    raw: Matches,
    input_checks: Sequence[Check],
    compare: Comparer,
    settings: Settings,
) -> Findings:
    """The audit with a control set, from the raw matches of synthetic with training pictures to a verdict."""
    overlap = find_overlap(training, given_control, compare, settings.random("overlap"))
    control, cohort = split_off_cohort(
        given_control.take(overlap.keep), settings.cohort_share, settings.random("cohort"), compare.comparator
    )
    lenses = {channel: lens(synthetic.through(channel), cohort.through(channel)) for channel in synthetic.channels}
    depth = _depth(training, control, settings)
    training_side = see("training", training, raw, lenses, compare, depth)
    if not len(control):
        checks = (*input_checks, *check_control(overlap, 0, None))
        people, identities = candidates(synthetic, training_side, None)
        return Findings("inconclusive", (), checks, people, identities, training_side, lenses)

    raw_control = compare.ranked("synthetic with control", synthetic, control, top_k=1)
    control_side = see("control", control, raw_control, lenses, compare, depth)
    rng = settings.random("calibration")
    matching, draw, likeness = match(training_side, control_side, settings, rng)
    checks = (*input_checks, *check_control(overlap, len(set(control.people_or_ids)), likeness))
    judge = Judge(synthetic, lenses, training_side, control_side, settings, compare.comparator)
    together, cosine = judge.by_score(draw), judge.by_score(draw, COSINE)
    channels = judge.by_channel(draw, together)
    people = judge.people(together, channels, cosine)
    competition, wins = judge.compete(draw)
    identities = judge.identities(competition, wins)
    verdict, rests_on = calibrated_verdict(
        checks,
        together.decision.global_test.p_value,
        settings.global_level,
        sum("counted" in p.listed_by for p in people),
        sum("modelled tail" in p.listed_by for p in people),
        sum(i.listed for i in identities),
    )
    stability, listed_in = judge.repeat(matching, draw, together, competition)
    return Findings(
        verdict,
        rests_on,
        checks,
        tuple(replace(p, draws_listed=listed_in.get(p.person, 0)) for p in people),
        identities,
        training_side,
        lenses,
        calibration=_calibration(
            *(together, channels, cosine, competition, likeness, stability, sum(bool(p.listed_by) for p in people)),
            strata=_strata(matching, draw, likeness.strata, people),
            accidental=_accidental(training_side, control_side, settings.random("accidental")),
            q=settings.q,
            rng=rng,
        ),
        control_pairs=len(synthetic) * len(control),
        ground=Ground(control_side, draw),
    )


def _calibration(
    together: ByScore,
    channels: Mapping[str, ByScore],
    cosine: ByScore,
    competition: Competition,
    likeness: Likeness,
    stability: Stability,
    n_listed: int,
    *,
    strata: tuple[Stratum, ...],
    accidental: tuple[AccidentalMatches, ...],
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
        fewest_counted=fewest_listed(len(training), len(control), q),
        smallest_p=1 / (len(control) + 1),
        roc=roc(training.score, control.score),
        likeness=likeness,
        strata=strata,
        stability=stability,
        accidental=accidental,
    )


def _membership(name: str, judged: ByScore, q: float, rng: np.random.Generator) -> Membership:
    training, control = judged.training.score, judged.control.score
    return Membership(
        score=name,
        auc=auc_estimate(training, control, rng),
        tpr_at_fpr={f"{fpr:g}": tpr_at_fpr(training, control, fpr) for fpr in FPRS},
        global_p=judged.decision.global_test.p_value,
        listed_counted=int(judged.decision.counted(q).sum()),
        listed_modelled=int(judged.decision.modelled(q).sum()),
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
    return max(settings.top_k, min(DEEPEST, int(np.ceil(np.log(1 - ANSWERED) / np.log(1 - part)))))


def _strata(
    matching: Matching, draw: Draw, names: tuple[str, ...], people: tuple[PersonFinding, ...]
) -> tuple[Stratum, ...]:
    """How the people of each label fared."""
    if not names:
        return ()
    listed = {p.person for p in people if p.listed_by}
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
        n_listed = sum(person in listed for person in own)
        found.append(Stratum(name, int((strata_c == i).sum()), share(n_listed, len(own), "share of people listed")))
    return tuple(found)


def _accidental(training: Side, control: Side, rng: np.random.Generator) -> tuple[AccidentalMatches, ...]:
    """Matches by raw cosine above the lines that the closest pairs of control people set."""
    raw, people_t, people_c = training.raw, training.people[1], control.people[1]
    return accidental_matches(
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
