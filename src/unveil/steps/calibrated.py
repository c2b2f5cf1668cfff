"""What can be said with a control set: who is exposed beyond what chance does to people the generator never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.compare import Engine, best_among
from unveil.config import Settings
from unveil.result import Calibration, IdentityFinding, Membership, PersonFinding
from unveil.stats.competition import Competition, compete
from unveil.stats.conformal import benjamini_hochberg, conformal_p, fewest_listed
from unveil.stats.exposure import draw_pictures, exposures, matched_counts
from unveil.stats.global_test import global_test
from unveil.stats.hubs import best_of_each, person_codes
from unveil.stats.hygiene import Check
from unveil.stats.membership import FPRS, auc_estimate, roc, tpr_at_fpr
from unveil.stats.tail import Tail, fit_tail
from unveil.stats.verdict import Basis, calibrated_verdict
from unveil.steps.check import check_control
from unveil.steps.comparer import Comparer
from unveil.steps.findings import Findings
from unveil.steps.prepare import find_overlap, split_off_cohort
from unveil.steps.uncalibrated import candidates
from unveil.types import Embedded, Exposure, Floats, Ints, Matches


@dataclass(frozen=True)
class Compared:
    """Real pictures of one side, their correction, and their matches with the synthetic set: raw and hub-corrected."""

    pictures: Embedded
    correction: Floats
    raw: Matches
    corrected: Matches

    def exposure(self, rows: Ints | None = None, *, raw: bool = False) -> Exposure:
        """Each person's best pair, over the given rows."""
        matches = self.raw if raw else self.corrected
        return exposures(
            self.pictures.people_or_ids, matches.best_query, matches.best_query_score, matches.best_query_cosine, rows
        )


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
        given_control.take(overlap.keep), settings.cohort_share, settings.random("cohort"), compare.engine
    )
    on_synthetic, on_training, on_control = (cohort.correction(x) for x in (synthetic, training, control))
    checks = (
        *input_checks,
        *check_control(overlap, len(set(control.people_or_ids)), -2 * on_training, -2 * on_control),
    )
    corrected = compare.ranked("synthetic with training, hub-corrected", synthetic, training, on_synthetic, on_training)
    if not len(control):
        people, identities = candidates(synthetic, training, corrected, None)
        return Findings("inconclusive", (), checks, people, identities, corrected)

    calibration, people, identities = calibrate(
        synthetic,
        on_synthetic,
        Compared(training, on_training, raw, corrected),
        Compared(
            control,
            on_control,
            compare("synthetic with control", synthetic, control),
            compare(
                "synthetic with control, hub-corrected",
                synthetic,
                control,
                on_synthetic,
                on_control,
                top_k=settings.top_k,
            ),
        ),
        settings,
        settings.random("calibration"),
        compare.engine,
    )
    verdict, rests_on = calibrated_verdict(
        checks,
        calibration.global_test.p_value,
        settings.global_level,
        sum("counted" in p.listed_by for p in people),
        sum("modelled tail" in p.listed_by for p in people),
        sum(i.listed for i in identities),
    )
    return Findings(
        verdict,
        rests_on,
        checks,
        people,
        identities,
        corrected,
        calibration=calibration,
        control_pairs=len(synthetic) * len(control),
    )


def calibrate(
    synthetic: Embedded,
    synthetic_correction: Floats,
    training: Compared,
    control: Compared,
    settings: Settings,
    rng: np.random.Generator,
    engine: Engine,
) -> tuple[Calibration, tuple[PersonFinding, ...], tuple[IdentityFinding, ...]]:
    """Exposure of training people against control people, by person and by synthetic identity."""
    training_rows, control_rows = _matched_rows(training.pictures, control.pictures, rng)
    exposed, null = training.exposure(training_rows), control.exposure(control_rows)
    people, tail = _people(synthetic, training.pictures, exposed, null, settings)
    n_t, n_c = len(exposed), len(null)

    best_training, best_control = (
        best_among(
            *(side.corrected, synthetic.vectors, side.pictures.vectors, rows),
            *(synthetic_correction, side.correction, engine),
        )
        for side, rows in ((training, training_rows), (control, control_rows))
    )
    identities, competition = _identities(
        synthetic, training.pictures, best_training, best_control, n_t / n_c, settings
    )

    raw_t = training.exposure(training_rows, raw=True).score
    raw_c = control.exposure(control_rows, raw=True).score
    calibration = Calibration(
        training=exposed,
        control=null,
        global_test=global_test(exposed.score, null.score),
        tail=tail,
        competition=competition,
        membership=(
            _membership("hub-corrected", exposed.score, null.score, rng),
            _membership("cosine", raw_t, raw_c, rng),
        ),
        fewest_counted=fewest_listed(n_t, n_c, settings.q),
        smallest_p=1 / (n_c + 1),
        roc=roc(exposed.score, null.score),
    )
    return calibration, people, identities


def _matched_rows(training: Embedded, control: Embedded, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Pictures that take part: the same distribution of pictures a person on both sides."""
    codes_t, codes_c = person_codes(training.people_or_ids)[1], person_codes(control.people_or_ids)[1]
    counts_t, counts_c = matched_counts(np.bincount(codes_t), np.bincount(codes_c), rng)
    return draw_pictures(codes_t, counts_t, rng), draw_pictures(codes_c, counts_c, rng)


def _people(
    synthetic: Embedded, training: Embedded, exposed: Exposure, null: Exposure, settings: Settings
) -> tuple[tuple[PersonFinding, ...], Tail | None]:
    p = conformal_p(exposed.score, null.score)
    q = benjamini_hochberg(p)
    tail = fit_tail(null.score)
    p_tail = tail.p_values(exposed.score) if tail else None
    q_tail = benjamini_hochberg(p_tail) if p_tail is not None else None
    findings = []
    for i in np.lexsort((np.arange(len(exposed)), -exposed.score)):
        listed: list[Basis] = []
        if q[i] <= settings.q:
            listed.append("counted")
        if q_tail is not None and q_tail[i] <= settings.q:
            listed.append("modelled tail")
        query, row = exposed.best_pair[i]
        findings.append(
            PersonFinding(
                person=exposed.people[i],
                score=float(exposed.score[i]),
                cosine=float(exposed.cosine[i]),
                p=float(p[i]),
                q=float(q[i]),
                p_modelled=None if p_tail is None else float(p_tail[i]),
                q_modelled=None if q_tail is None else float(q_tail[i]),
                synthetic_id=synthetic.ids[query],
                training_id=training.ids[row],
                n_images=int(exposed.n_images[i]),
                listed_by=tuple(listed),
            )
        )
    return tuple(findings), tail


def _identities(
    synthetic: Embedded,
    training: Embedded,
    best_training: tuple[Ints, Floats],
    best_control: tuple[Ints, Floats],
    ratio: float,
    settings: Settings,
) -> tuple[tuple[IdentityFinding, ...], Competition]:
    """Each synthetic identity takes its best match over training people and decoys; decoys win ties."""
    names, codes = person_codes(synthetic.people_or_ids)
    (rows, score_t), (_, score_c) = best_training, best_control
    won = score_t > score_c
    score = np.where(won, score_t, score_c)
    best = best_of_each(codes, score, before=won.astype(np.float64))
    competition = compete(score[best], won[best], ratio, settings.q)
    n_images = np.bincount(codes)
    findings = tuple(
        IdentityFinding(
            identity=names[i],
            score=float(score[best[i]]),
            q=float(competition.q[i]),
            n_images=int(n_images[i]),
            synthetic_id=synthetic.ids[best[i]],
            training_id=training.ids[rows[best[i]]] if won[best[i]] else None,
            listed=bool(competition.q[i] <= settings.q),
        )
        for i in np.lexsort((-score[best], competition.q))
    )
    return findings, competition


def _membership(name: str, training: Floats, control: Floats, rng: np.random.Generator) -> Membership:
    return Membership(
        score=name,
        auc=auc_estimate(training, control, rng),
        tpr_at_fpr={f"{fpr:g}": tpr_at_fpr(training, control, fpr) for fpr in FPRS},
    )
