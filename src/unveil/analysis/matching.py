"""Which real people are tested: training and control people that are comparable in everything but membership."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unveil.analysis.scores import RealSide
from unveil.channels import QUALITY_FEATURES
from unveil.errors import SettingError
from unveil.results import Balance
from unveil.stats.balance import (
    MIN_CONTROL_PEOPLE,
    SHIFT_WARN,
    PrognosticModel,
    classifier_auc,
    fit_prognostic_score,
    match_people,
    prognostic_shift,
)
from unveil.stats.exposure import counts_differ, matched_counts, subsample_images
from unveil.stats.intervals import standardised_difference
from unveil.types import Estimate, Floats, Ints, Mask

MatchMode = Literal["auto", "on", "off"]
# Principal directions of the face vectors that describe a person's appearance.
DIRECTIONS = 64
SAMPLE = 4000
CLOSENESS = "closeness to other people"
CHUNK = 8192


@dataclass(frozen=True)
class Subsample:
    """The images that are tested: rows of the training and of the control set, ascending."""

    training: Ints
    control: Ints


@dataclass(frozen=True)
class Matching:
    """What decides who is tested, and draws subsamples from it; nothing here depends on who is exposed.

    Arrays are by person, in the order in which the people first appear.
    """

    training: RealSide
    control: RealSide
    prognosis: PrognosticModel | None
    strata: tuple[Ints, Ints]
    by_prognosis: bool
    by_strata: bool
    by_images: bool = True  # whether images per person are matched too

    @property
    def selects_people(self) -> bool:
        """Whether some people are not tested."""
        return self.by_prognosis or self.by_strata

    def people(self, rng: np.random.Generator) -> tuple[Mask, Mask]:
        """Which training and control people are tested."""
        strata_t, strata_c = self.strata
        if not self.selects_people:
            return np.ones(len(strata_t), np.bool_), np.ones(len(strata_c), np.bool_)
        model = self.prognosis if self.by_prognosis else None
        score_t = np.zeros(len(strata_t)) if model is None else model.training
        score_c = np.zeros(len(strata_c)) if model is None else model.control
        return match_people(score_t, score_c, strata_t, strata_c, rng)

    def subsample(self, rng: np.random.Generator, people: tuple[Mask, Mask] | None = None) -> Subsample:
        """Images of the tested people, with the same distribution of images per person on both sides.

        They are all images where the numbers are comparable, and random ones where they are not.
        """
        tested_t, tested_c = self.people(rng) if people is None else people
        codes_t, codes_c = self.training.people[1], self.control.people[1]
        if not self.by_images:
            return Subsample(np.flatnonzero(tested_t[codes_t]), np.flatnonzero(tested_c[codes_c]))
        counts_t, counts_c = np.bincount(codes_t), np.bincount(codes_c)
        matched_t, matched_c = matched_counts(counts_t[tested_t], counts_c[tested_c], rng)
        counts_t, counts_c = np.zeros_like(counts_t), np.zeros_like(counts_c)
        counts_t[tested_t], counts_c[tested_c] = matched_t, matched_c
        return Subsample(subsample_images(codes_t, counts_t, rng), subsample_images(codes_c, counts_c, rng))

    def is_everything(self, subsample: Subsample) -> bool:
        """Whether all images of all people are in the subsample, so that every other one would equal it."""
        n_images = len(self.training.images) + len(self.control.images)
        return not self.selects_people and len(subsample.training) + len(subsample.control) == n_images


def match_control_people(
    training: RealSide, control: RealSide, labels: Mapping[str, str], mode: MatchMode, rng: np.random.Generator
) -> tuple[Matching, Subsample, Balance]:
    """Decides who is comparable with whom, draws the subsample of the audit, and measures the balance of both sides.

    ``labels`` are the strata of people; only people of one stratum are compared with each other. ``mode`` auto matches
    control people by their prognostic score where it differs from that of training people.

    Where matching would leave too few people, everybody is tested and all training people count as not comparable. That
    check fails, and there is no verdict.
    """
    strata, names = _strata(training, control, labels)
    by_images = counts_differ(*(np.bincount(side.people[1]) for side in (training, control)))
    everybody = Matching(training, control, None, strata, by_prognosis=False, by_strata=False, by_images=by_images)
    subsample = everybody.subsample(rng)
    exposure_c = control.exposure(subsample.control).score
    if len(exposure_c) < MIN_CONTROL_PEOPLE:
        # The check of the size of the control set reports it.
        return everybody, subsample, Balance(None, None, None, {}, names, len(strata[0]), 0, 0)

    prognosis = before = features = None
    differs = False
    if training.images.quality is not None:
        features = _features(training, control, subsample)
        prognosis = fit_prognostic_score(*features, exposure_c, rng)
        before = prognostic_shift(prognosis, exposure_c)
        differs = abs(before.value) >= SHIFT_WARN and before.low * before.high > 0
    elif mode == "on":
        raise SettingError(
            "--match-controls on: expected images, found precomputed embeddings, which have no prognostic score. Leave "
            "it out"
        )
    matching = Matching(
        *(training, control, prognosis, strata),
        by_prognosis=prognosis is not None and (mode == "on" or (mode == "auto" and differs)),
        by_strata=len(names) > 1,
        by_images=by_images,
    )
    tested_t, tested_c = matching.people(rng)
    n_not_tested, n_not_used = int((~tested_t).sum()), int((~tested_c).sum())
    if not tested_t.any() or tested_c.sum() < MIN_CONTROL_PEOPLE:
        n_not_tested, n_not_used, matching = len(tested_t), len(tested_c), everybody
        tested_t, tested_c = everybody.people(rng)
    if matching.selects_people:
        subsample = matching.subsample(rng, (tested_t, tested_c))
    shift = auc = None
    quality: dict[str, Estimate] = {}
    if prognosis is not None and features is not None:
        of_training, of_control = features[0][tested_t], features[1][tested_c]
        quality = {
            name: standardised_difference(of_training[:, i], of_control[:, i], name)
            for i, name in enumerate((*QUALITY_FEATURES, CLOSENESS))
        }
        tested = PrognosticModel(prognosis.training[tested_t], prognosis.control[tested_c])
        shift, auc = prognostic_shift(tested, exposure_c[tested_c]), classifier_auc(of_training, of_control, rng)
    return (
        matching,
        subsample,
        Balance(
            prognostic_shift=shift,
            prognostic_shift_before=before if matching.selects_people else None,
            classifier_auc=auc,
            image_quality=quality,
            strata=names,
            training_people=len(tested_t),
            training_not_tested=n_not_tested,
            control_not_used=n_not_used,
        ),
    )


def _strata(
    training: RealSide, control: RealSide, labels: Mapping[str, str]
) -> tuple[tuple[Ints, Ints], tuple[str, ...]]:
    """The stratum of each training and control person, and the names; people without a label share a stratum."""
    people = [side.people[0] for side in (training, control)]
    if not labels:
        return (np.zeros(len(people[0]), np.int64), np.zeros(len(people[1]), np.int64)), ()
    labelled = [[labels.get(person, "") for person in side] for side in people]
    names = tuple(sorted({label for side in labelled for label in side}))
    if names == ("",):
        raise SettingError(
            f"--strata should have lines `person label` with people of the training or control set, for example "
            f"{people[0][0]!r}; none of its people are in them. Name people as the label rule names them."
        )
    index = {name: i for i, name in enumerate(names)}
    codes_t, codes_c = (np.array([index[label] for label in side], np.int64) for side in labelled)
    return (codes_t, codes_c), tuple(name or "no label" for name in names)


def _features(training: RealSide, control: RealSide, subsample: Subsample) -> tuple[Floats, Floats]:
    """Features of the real images of each training (T, F) and control person (C, F), whether member or not.

    They are image quality, closeness to the cohort, and coordinates in the directions in which faces vary most. Each is
    the mean over the tested images. Only the face channel is used. Whitening by the synthetic set makes training images
    differ from others because they were learnt, and matching on that would remove the leak.
    """
    sides = ((training, subsample.training), (control, subsample.control))
    samples = [
        np.asarray(side.images.vectors[rows[:: max(1, len(rows) // SAMPLE)]], np.float64) for side, rows in sides
    ]
    pooled = np.concatenate(samples)
    centre = pooled.mean(0)
    directions = np.linalg.eigh((pooled - centre).T @ (pooled - centre))[1][:, ::-1][:, :DIRECTIONS]
    features_t, features_c = (_person_means(side, rows, centre, directions) for side, rows in sides)
    return features_t, features_c


def _person_means(side: RealSide, rows: Ints, centre: Floats, directions: Floats) -> Floats:
    names, codes = side.people
    quality, correction = side.images.quality, side.by_channel[side.images.channel].people_correction
    n_quality = 0 if quality is None else quality.shape[1]
    total = np.zeros((len(names), n_quality + 1 + directions.shape[1]))
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        features = [
            *([] if quality is None else [quality[chunk]]),
            -2 * correction[chunk, None],
            (np.asarray(side.images.vectors[chunk], np.float64) - centre) @ directions,
        ]
        np.add.at(total, codes[chunk], np.concatenate(features, axis=1))
    return total / np.maximum(np.bincount(codes[rows], minlength=len(names)), 1)[:, None]
