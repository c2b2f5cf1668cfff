"""Who is tested: images per person, strata, and prognostic scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.worlds import SAME_SCALE, embedded, generators, matches, side
from unveil.analysis.input_checks.base import ControlPeople
from unveil.analysis.input_checks.comparable_people import ComparablePeople
from unveil.analysis.matching import CLOSENESS, Matching, match_control_people
from unveil.analysis.overlap import Overlap
from unveil.analysis.scores import ChannelMatches, RealSide
from unveil.errors import SettingError


def people(name: str, n: int, each: int) -> list[str]:
    return [f"{name}{i // each}" for i in range(n * each)]


def flat(prefix: str, of: list[str]) -> RealSide:
    """A side on which everybody has score 0."""
    return side(prefix, of, {"face": [[0.0] * len(of)]})


def test_a_subsample_has_equally_many_images_per_person() -> None:
    training, control = flat("t", people("t", 3, 4)), flat("c", people("c", 5, 2))
    strata = np.zeros(3, np.int64), np.zeros(5, np.int64)
    matching = Matching(training, control, None, strata, by_prognosis=False, by_strata=False)
    one, other = (matching.subsample(np.random.default_rng(seed)) for seed in (0, 1))
    assert np.bincount(training.people[1][one.training]).tolist() == [2, 2, 2]
    assert one.control.tolist() == list(range(10)), "control people have no more than two images"
    assert one.training.tolist() != other.training.tolist() and not matching.is_everything(one)


def test_where_all_have_one_image_everything_is_tested() -> None:
    training, control = flat("t", ["a", "b"]), flat("c", ["x", "y", "z"])
    _, subsample, balance = match_control_people(training, control, {}, "auto", generators("x"))
    assert subsample.training.tolist() == [0, 1] and subsample.control.tolist() == [0, 1, 2]
    assert balance.prognostic_shift is None and balance.training_people == 2, "too few people to measure a balance"


def test_nothing_is_drawn_where_images_per_person_are_comparable() -> None:
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 6, size=600)
    of = [f"{i}" for i, n in enumerate(counts) for _ in range(n)]
    training = flat("t", of[: int(counts[:300].sum())])
    control = flat("c", of[int(counts[:300].sum()) :])
    drawn = [match_control_people(training, control, {}, "off", np.random.default_rng(seed)) for seed in range(3)]
    for matching, subsample, _ in drawn:
        assert not matching.by_images and matching.is_everything(subsample)
    more = flat("t", of[: int(counts[:300].sum())] * 3)
    matching, subsample, _ = match_control_people(more, control, {}, "off", generators("x"))
    assert matching.by_images and len(subsample.training) < len(more.images)
    twice = flat("c", [*"xxyyzz"])
    assert match_control_people(flat("t", [*"ab"]), twice, {}, "off", generators("x"))[0].by_images


def test_strata_that_name_nobody_are_refused() -> None:
    training, control = flat("t", ["a"]), flat("c", ["x"])
    with pytest.raises(SettingError, match=r"--strata .* 'a'"):
        match_control_people(training, control, {"nobody": "old"}, "off", generators("x"))


def measured(rng: np.random.Generator, prefix: str, n: int, shift: float) -> RealSide:
    """People with one image each, whose sharpness predicts their exposure."""
    quality = rng.normal(size=(n, 5))
    quality[:, 0] += shift
    vectors = np.asarray(rng.normal(size=(n, 8)), np.float32)
    images = replace(embedded(vectors, prefix, people(prefix, n, 1)), quality=quality)
    score = matches([(quality[:, 0] + 0.3 * rng.normal(size=n)).tolist()])
    return RealSide(images, score, {"face": ChannelMatches(np.zeros(n), score, SAME_SCALE, np.zeros(n))})


@pytest.mark.parametrize(("mode", "selects"), [("auto", True), ("on", True), ("off", False)])
def test_control_people_are_matched_where_their_prognostic_score_differs(mode: str, selects: bool) -> None:
    rng = np.random.default_rng(0)
    training, control = measured(rng, "t", 200, 0.8), measured(rng, "c", 600, 0)
    matching, subsample, balance = match_control_people(training, control, {}, mode, rng)  # type: ignore[arg-type]
    assert matching.selects_people is selects
    assert balance.prognostic_shift is not None and balance.image_quality.keys() >= {CLOSENESS}
    if selects:
        assert balance.prognostic_shift_before is not None and balance.prognostic_shift_before.value > 0.5
        assert abs(balance.prognostic_shift.value) < 0.15
        assert len(subsample.control) == 600 - balance.control_not_used < 600
    else:
        assert balance.prognostic_shift_before is None and balance.prognostic_shift.value > 0.5
        assert len(subsample.control) == 600 and balance.control_not_used == 0


def test_equal_sides_are_not_matched_and_strata_are() -> None:
    rng = np.random.default_rng(1)
    training, control = measured(rng, "t", 200, 0), measured(rng, "c", 300, 0)
    matching, _, balance = match_control_people(training, control, {}, "auto", rng)
    assert not matching.selects_people and balance.training_not_tested == 0
    # Half of the training people and all control people have label x, so that nobody is comparable with the others.
    labels = {f"t{i}": "x" for i in range(100)} | {f"c{i}": "x" for i in range(300)}
    matching, subsample, balance = match_control_people(training, control, labels, "off", rng)
    assert matching.by_strata and balance.strata == ("no label", "x")
    assert balance.training_not_tested == 100 and subsample.training.max() < 100


def test_strata_hold_where_nothing_is_known_of_the_images() -> None:
    """As of precomputed embeddings, of which no prognostic score can be made."""
    training, control = flat("t", people("t", 30, 1)), flat("c", people("c", 200, 1))
    named = {p: "x" if i < 10 else "y" for i, p in enumerate(training.people[0])} | dict.fromkeys(
        control.people[0], "y"
    )
    matching, subsample, balance = match_control_people(training, control, named, "auto", generators("x"))
    assert matching.by_strata and balance.strata == ("x", "y") and balance.prognostic_shift is None
    tested = {named[training.people[0][training.people[1][row]]] for row in subsample.training}
    assert tested == {"y"} and balance.training_not_tested == 10, "nobody of x is a control person"
    (check,) = ComparablePeople().run(ControlPeople(Overlap(np.arange(0), (), 0, 200), 200, balance))
    assert check.status != "pass" and "10 of 30" in check.message
    with pytest.raises(SettingError, match="--match-controls on: expected images"):
        match_control_people(training, control, {}, "on", generators("x"))
