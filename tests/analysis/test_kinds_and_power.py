"""Kinds of leak and planted leaks, without images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.worlds import SAME_SCALE, contexts, embedded, images, matches, side, unit
from unveil.analysis.findings import ControlState
from unveil.analysis.leak_kinds import LeakKinds
from unveil.analysis.matching import Subsample
from unveil.analysis.power import _choose_people, _score, _scores_of_other_images
from unveil.analysis.rankings import top_pairs
from unveil.analysis.scores import ChannelMatches, RealSide
from unveil.columns import Texts
from unveil.stats.leak_kinds import ImageSimilarity, calibrate_thresholds


def test_a_kind_follows_from_the_similarity_and_the_channel() -> None:
    training = side("t", ["a", "b"], {"face": [[3.0, 2.0]]})
    pairs = top_pairs(training.raw, images("s", [None]), training.images, 2)
    similar, different = ImageSimilarity(0.95, 0.1, 120), ImageSimilarity(0.1, 0.1, 120)
    kinds = LeakKinds(calibrate_thresholds([]), {("s0", "t0"): similar, ("s0", "t1"): different})
    assert [p.kind.kind for p in kinds.mark(pairs) if p.kind is not None] == ["similar image", "identity match"]
    by_appearance = kinds.mark([replace(pairs[1], channel="appearance")])[0].kind
    assert by_appearance is not None and by_appearance.kind == "appearance match"
    assert kinds.mark([replace(pairs[0], training_id="gone")])[0].kind is None


def control_state(vectors: np.ndarray, people: list[str], tested: list[int]) -> ControlState:
    """Control people whose scores with the synthetic set are all 0.1."""
    made = embedded(unit(vectors), "c", people)
    none = matches([[0.1] * len(people)])
    real = RealSide(
        made, none, {"face": ChannelMatches(np.zeros(len(people)), none, SAME_SCALE, np.zeros(len(people)))}
    )
    return ControlState(real, Subsample(np.zeros(0, np.int64), np.array(tested)))


def test_another_image_of_a_person_is_a_perfect_identity_match() -> None:
    """x has the images (1, 0) and (0.6, 0.8), so either as a synthetic one scores 0.6; y has one image."""
    state = control_state(np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), ["x", "x", "y"], [0, 1, 2])
    assert _scores_of_other_images(state, np.random.default_rng(0), 10) == pytest.approx([0.6])


def test_only_tested_people_are_planted_with_any_of_their_images() -> None:
    state = control_state(np.eye(4), ["x", "x", "y", "z"], [0, 3])
    chosen = [_choose_people(state, np.random.default_rng(seed), 10) for seed in range(20)]
    assert {tuple(sorted(people.tolist())) for people, _ in chosen} == {(0, 2)}
    assert {int(rows[people == 0][0]) for people, rows in chosen} == {0, 1}
    assert len(_choose_people(state, np.random.default_rng(0), 1)[0]) == 1


def test_a_planted_image_raises_the_exposure_of_its_person_alone() -> None:
    """The copy of x is (0.6, 0.8) and was detected; that of y was not."""
    state = control_state(np.array([[1.0, 0.0], [0.0, 1.0]]), ["x", "y"], [0, 1])
    planted = embedded(unit(np.array([[0.6, 0.8]])), "unused")
    planted = replace(planted, ids=Texts(["000000/001"]))
    scores = np.full((2, 2), -np.inf)
    empty = contexts(images("s", [None]))
    empty["face"] = replace(
        empty["face"], cohort=replace(empty["face"].cohort, images=planted.take(np.zeros(0, np.int64)))
    )
    _score(planted, state, empty, [np.array([0]), np.array([1])], scores)
    assert scores[0] == pytest.approx([-np.inf, 0.6]) and np.isneginf(scores[1]).all()
