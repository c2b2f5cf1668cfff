"""Which real people take part in the tests: training and control people made alike in all but membership."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unveil.analysis.scores import RealSide
from unveil.channels import QUALITY_FEATURES
from unveil.config.settings import Settings
from unveil.errors import SettingError
from unveil.images import read_labels
from unveil.results.audit import Balance
from unveil.stats.balance import (
    Mask,
    PrognosticModel,
    classifier_auc,
    fit_prognostic_score,
    match_people,
    prognostic_shift,
)
from unveil.stats.exposure import matched_counts, subsample_images
from unveil.stats.input_checks import MIN_CONTROL_PEOPLE, SHIFT_WARN
from unveil.stats.intervals import standardised_difference
from unveil.types import Floats, Ints

# Directions of the network's space that stand for who a person looks like.
DIRECTIONS = 64
SAMPLE = 4000
CLOSENESS = "closeness to other people"
CHUNK = 8192


@dataclass(frozen=True)
class Subsample:
    """The pictures that take part in the tests: rows of the training and of the control set, ascending."""

    training: Ints
    control: Ints


@dataclass(frozen=True)
class Matching:
    """What is known of real people without looking at who is exposed, and how draws are made from it.

    Everything is by person, in the order in which the people first appear.
    """

    training: RealSide
    control: RealSide
    prognosis: PrognosticModel | None
    strata: tuple[Ints, Ints]
    by_prognosis: bool
    by_strata: bool

    @property
    def chooses_people(self) -> bool:
        """Whether some people are left out."""
        return self.by_prognosis or self.by_strata

    def people(self, rng: np.random.Generator) -> tuple[Mask, Mask]:
        """Which training and control people take part."""
        strata_t, strata_c = self.strata
        if not self.chooses_people:
            return np.ones(len(strata_t), np.bool_), np.ones(len(strata_c), np.bool_)
        foretold = self.prognosis if self.by_prognosis else None
        told_t = np.zeros(len(strata_t)) if foretold is None else foretold.training
        told_c = np.zeros(len(strata_c)) if foretold is None else foretold.control
        return match_people(told_t, told_c, strata_t, strata_c, rng)

    def draw(self, rng: np.random.Generator, keep: tuple[Mask, Mask] | None = None) -> Subsample:
        """Pictures of people who take part: the same distribution of pictures a person on both sides."""
        keep_t, keep_c = self.people(rng) if keep is None else keep
        codes_t, codes_c = self.training.people[1], self.control.people[1]
        counts_t, counts_c = np.bincount(codes_t), np.bincount(codes_c)
        some_t, some_c = matched_counts(counts_t[keep_t], counts_c[keep_c], rng)
        counts_t, counts_c = np.zeros_like(counts_t), np.zeros_like(counts_c)
        counts_t[keep_t], counts_c[keep_c] = some_t, some_c
        return Subsample(subsample_images(codes_t, counts_t, rng), subsample_images(codes_c, counts_c, rng))

    def nothing_is_drawn(self, draw: Subsample) -> bool:
        """Whether every draw would be this one."""
        everything = len(self.training.images) + len(self.control.images)
        return not self.chooses_people and len(draw.training) + len(draw.control) == everything


def match_control_people(
    training: RealSide, control: RealSide, settings: Settings, rng: np.random.Generator
) -> tuple[Matching, Subsample, Balance]:
    """Decides who is comparable with whom, makes the audit's draw, and says how alike both sides are.

    Where matching would leave too few people, everybody takes part and everybody counts as without a like: that check
    fails, and there is no verdict.
    """
    labels = {} if settings.strata is None else read_labels(settings.strata)
    strata, names = _strata(training, control, labels)
    plain = Matching(training, control, None, strata, by_prognosis=False, by_strata=False)
    draw = plain.draw(rng)
    everybody = control.exposure(draw.control).score
    if len(everybody) < MIN_CONTROL_PEOPLE or training.images.quality is None:
        # Too few to learn anything from; the check of their number says so.
        return plain, draw, Balance(None, None, None, {}, names, len(strata[0]), 0, 0)

    features_t, features_c = _features(training, control, draw)
    prognosis = fit_prognostic_score(features_t, features_c, everybody, rng)
    before = prognostic_shift(prognosis, everybody)
    beyond_chance = abs(before.value) >= SHIFT_WARN and before.low * before.high > 0
    matching = Matching(
        *(training, control, prognosis, strata),
        by_prognosis=settings.match_controls == "on" or (settings.match_controls == "auto" and beyond_chance),
        by_strata=len(names) > 1,
    )
    keep_t, keep_c = matching.people(rng)
    set_aside, left_out = int((~keep_t).sum()), int((~keep_c).sum())
    if not keep_t.any() or keep_c.sum() < MIN_CONTROL_PEOPLE:
        set_aside, left_out, matching = len(keep_t), len(keep_c), plain
        keep_t, keep_c = plain.people(rng)
    if matching.chooses_people:
        draw = matching.draw(rng, (keep_t, keep_c))
    kept = PrognosticModel(prognosis.training[keep_t], prognosis.control[keep_c])
    quality = {
        name: standardised_difference(features_t[keep_t, i], features_c[keep_c, i], name)
        for i, name in enumerate((*QUALITY_FEATURES, CLOSENESS))
    }
    return (
        matching,
        draw,
        Balance(
            prognostic_shift=prognostic_shift(kept, everybody[keep_c]),
            prognostic_shift_before=before if matching.chooses_people else None,
            classifier_auc=classifier_auc(features_t[keep_t], features_c[keep_c], rng),
            image_quality=quality,
            strata=names,
            training_people=len(keep_t),
            training_not_tested=set_aside,
            control_not_used=left_out,
        ),
    )


def _strata(training: RealSide, control: RealSide, labels: dict[str, str]) -> tuple[tuple[Ints, Ints], tuple[str, ...]]:
    """The stratum of each person of both sides, and the names of the strata; people without a label share one."""
    people = [side.people[0] for side in (training, control)]
    if not labels:
        return (np.zeros(len(people[0]), np.int64), np.zeros(len(people[1]), np.int64)), ()
    told = [[labels.get(person, "") for person in side] for side in people]
    names = tuple(sorted({label for side in told for label in side}))
    if names == ("",):
        raise SettingError(
            "--strata: none of its people are in the training or control set; lines `person label` were expected, "
            f"with people as the identity rule names them, for example {people[0][0]!r}"
        )
    place = {name: i for i, name in enumerate(names)}
    codes_t, codes_c = (np.array([place[label] for label in side], np.int64) for side in told)
    return (codes_t, codes_c), tuple(name or "no label" for name in names)


def _features(training: RealSide, control: RealSide, draw: Subsample) -> tuple[Floats, Floats]:
    """What real pictures say of each person (P, F), whether training or control: traits, closeness to the cohort, and
    the directions in which faces differ most, each the mean over the pictures that take part.

    Only the face channel may speak here: whitening by the synthetic set makes training pictures look different from
    others because they were learnt, and matching on that would take the leak away.
    """
    sides = ((training, draw.training), (control, draw.control))
    samples = [
        np.asarray(side.images.vectors[rows[:: max(1, len(rows) // SAMPLE)]], np.float64) for side, rows in sides
    ]
    pooled = np.concatenate(samples)
    centre = pooled.mean(0)
    directions = np.linalg.eigh((pooled - centre).T @ (pooled - centre))[1][:, ::-1][:, :DIRECTIONS]
    features_t, features_c = (_means(side, rows, centre, directions) for side, rows in sides)
    return features_t, features_c


def _means(side: RealSide, rows: Ints, centre: Floats, directions: Floats) -> Floats:
    names, codes = side.people
    quality, correction = side.images.quality, side.by_channel[side.images.channel].correction
    n_traits = 0 if quality is None else quality.shape[1]
    total = np.zeros((len(names), n_traits + 1 + directions.shape[1]))
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        measured = [
            *([] if quality is None else [quality[some]]),
            -2 * correction[some, None],
            (np.asarray(side.images.vectors[some], np.float64) - centre) @ directions,
        ]
        np.add.at(total, codes[some], np.concatenate(measured, axis=1))
    return total / np.maximum(np.bincount(codes[rows], minlength=len(names)), 1)[:, None]
