"""Input checks: when each warns and fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from tests.analysis.worlds import embedded
from tests.builders import unit_rows
from unveil.analysis.input_checks.base import EmbeddedSets
from unveil.analysis.input_checks.classifier import Classifier
from unveil.analysis.input_checks.closeness import Closeness
from unveil.analysis.input_checks.comparable_people import ComparablePeople
from unveil.analysis.input_checks.control_size import ControlSize
from unveil.analysis.input_checks.duplicates import Duplicates
from unveil.analysis.input_checks.identical_images import IdenticalImages
from unveil.analysis.input_checks.labels import Labels
from unveil.analysis.input_checks.one_model import OneModel
from unveil.analysis.input_checks.overlap import TrainingOverlap
from unveil.analysis.input_checks.prognostic_score import PrognosticScore
from unveil.analysis.input_checks.rejects import Rejects
from unveil.analysis.input_checks.spread import Spread
from unveil.analysis.overlap import Overlap
from unveil.columns import Texts
from unveil.embedding.embed import EmbeddedSource
from unveil.results import OverlapFinding
from unveil.stats.checks import Check, shared_directions
from unveil.stats.intervals import exact_count
from unveil.stats.statements import NONE_DETECTED
from unveil.types import Estimate, Vectors


def figure(value: float) -> Estimate:
    """An exact figure."""
    return exact_count(value, 100, "made up")


def removed(n: int) -> tuple[OverlapFinding, ...]:
    return tuple(OverlapFinding(f"c{i}", f"c{i}.png", f"t{i}", f"t{i}.png", "bytes") for i in range(n))


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (Spread().outcome("synthetic", 0.9, figure(0.9)), "pass"),
        (Spread().outcome("synthetic", 0.6, figure(0.6)), "warn"),
        (Spread().outcome("synthetic", 0.3, figure(0.3)), "fail"),
        (Spread().outcome("training", 0.01, figure(1.0)), "fail"),
        (OneModel().outcome("synthetic", Estimate(0.0166, 0.0166 - 0.0054, 0.0166 + 0.0054, 0.95, 60, "")), "pass"),
        (OneModel().outcome("control", Estimate(0.0164, 0.0164 - 0.0054, 0.0164 + 0.0054, 0.95, 60, "")), "fail"),
        (Rejects().outcome("training", 0, 10), "pass"),
        (Rejects().outcome("training", 5, 100), "pass"),
        (Rejects().outcome("training", 6, 100), "fail"),
        (Rejects().outcome("training", 0, 0), "fail"),
        (Rejects().outcome("training", 40, 880, different=(40, 100)), "fail"),
        (Rejects().outcome("training", 400, 880, different=(1, 100)), "pass"),
        (Rejects().outcome("synthetic", 5, 100), "pass"),
        (Rejects().outcome("synthetic", 6, 100), "fail"),
        (Rejects().outcome("control", 6, 100), "warn"),
        (Rejects().outcome("control", 50, 100), "fail"),
        (Duplicates().outcome("synthetic", Texts(["a", "b", "c"])), "pass"),
        (Duplicates().outcome("synthetic", Texts(["a", "b", "a"])), "warn"),
        (IdenticalImages().outcome("training", Texts(["a"]), Texts(["a", "b"])), "warn"),
        (IdenticalImages().outcome("control", Texts(["a"]), Texts(["a", "b"])), "fail"),
        (IdenticalImages().outcome("control", Texts(["c"]), Texts(["a", "b"])), "pass"),
        (ControlSize().outcome(59), "fail"),
        (ControlSize().outcome(100), "warn"),
        (ControlSize().outcome(1000), "pass"),
        (TrainingOverlap().outcome(Overlap(np.arange(0), removed(3), 3, 1000)), "pass"),
        (TrainingOverlap().outcome(Overlap(np.arange(0), removed(600), 600, 1000)), "fail"),
        (Closeness().outcome(figure(0.1)), "pass"),
        (Closeness().outcome(figure(-0.3)), "warn"),
        (Closeness().outcome(figure(0.6)), "fail"),
        (PrognosticScore().outcome(figure(0.05), None, 0, 0), "pass"),
        (PrognosticScore().outcome(figure(-0.15), figure(0.4), 3, 50), "warn"),
        (PrognosticScore().outcome(figure(0.3), None, 0, 0), "fail"),
        (PrognosticScore().outcome(Estimate(0.3, -0.1, 0.7, 0.95, 60, "wide"), None, 0, 0), "pass"),
        (ComparablePeople().outcome(0, 100), "pass"),
        (ComparablePeople().outcome(20, 100), "warn"),
        (ComparablePeople().outcome(95, 100), "fail"),
        (Classifier().outcome(figure(0.55), {"sharpness": figure(0.1)}), "pass"),
        (Classifier().outcome(figure(0.7), {"sharpness": figure(0.1), "colour": figure(-2)}), "warn"),
        (Classifier().outcome(figure(0.99), {"sharpness": figure(0.1)}), "fail"),
    ],
)
def test_checks_grade(check: Check, status: str) -> None:
    assert check.status == status
    assert check.message


@pytest.mark.parametrize(("n_rejected", "blocks"), [(6, {NONE_DETECTED}), (50, {NONE_DETECTED, "identities"})])
def test_rejects_of_the_synthetic_set_block_what_they_make_false(n_rejected: int, blocks: set[str]) -> None:
    check = Rejects().outcome("synthetic", n_rejected, 100)
    assert set(check.invalidates) == blocks and "a leak among them is not found" in check.message
    assert "is not found" not in Rejects().outcome("control", 60, 100).message


def test_a_small_control_set_states_the_size_that_its_grade_asks_for() -> None:
    required, recommended = (ControlSize().outcome(n).message for n in (59, 100))
    assert "at least 60 are required" in required and "500" not in required
    assert "500 or more lower the detection limit" in recommended and "60" not in recommended


def test_labels_that_are_not_people_fail() -> None:
    rng = np.random.default_rng(0)
    same, other = rng.normal(0.6, 0.1, 100), rng.normal(0, 0.1, 100)
    good, bad = Labels().outcome("training", same, other), Labels().outcome("training", other, other)
    assert good is not None and good.status == "pass"
    assert bad is not None and bad.status == "fail" and "--training-labels" in bad.message
    assert Labels().outcome("training", same[:3], other) is None


@pytest.mark.parametrize(
    "n_labels, of_people, control, status",
    [
        (1, False, True, "fail"),  # a column that is the same everywhere
        (2, False, True, "fail"),  # a sex
        (2, False, False, "fail"),
        (12, False, True, "fail"),
        (1, True, True, "pass"),  # one person
        (1, True, False, None),
        (12, True, True, "pass"),
        (150, True, True, "pass"),
    ],
)
def test_few_labels_that_are_not_people_fail(n_labels: int, of_people: bool, control: bool, status: str | None) -> None:
    """One label for all images made one person of all people, and hid copies of all but one."""
    rng = np.random.default_rng(n_labels)
    labels = np.arange(300) % n_labels
    # Images of one label that is no person are a little closer as well.
    means = unit_rows(rng, n_labels, 64)[labels]
    vectors = unit_rows(rng, 300, 64) + means * (1.5 if of_people else 0.3)
    other = unit_rows(rng, 50, 64)
    sets = {"training": (vectors, labels), "control": (other, np.arange(50))}
    inputs = EmbeddedSets({role: labelled(*of) for role, of in sets.items() if control or role != "control"}, rng)  # type: ignore[misc]
    found = [check.status for check in Labels().run(inputs) if check.name == "labels of training"]
    assert found == ([] if status is None else [status])


def test_a_few_images_without_a_name_are_no_reason_to_fail() -> None:
    """A label for those who are not known beside 200 people with one image each."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(200), np.full(60, 200)])
    inputs = EmbeddedSets({"training": labelled(unit_rows(rng, 260, 64), labels)}, rng)
    assert not list(Labels().run(inputs))


def labelled(vectors: Vectors, labels: npt.NDArray[np.int64]) -> EmbeddedSource:
    unit = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    made = embedded(unit, "", [str(label) for label in labels])
    return cast(EmbeddedSource, SimpleNamespace(embedded=made))


def uneven_rows(rng: np.random.Generator, n: int, d: int) -> Vectors:
    """Random unit vectors that spread more in some directions than in others."""
    x = rng.normal(size=(n, d)) * np.linspace(0.2, 1.8, d) + 0.3
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def test_sets_of_one_model_spread_in_the_same_directions() -> None:
    rng = np.random.default_rng(1)
    figure = shared_directions(uneven_rows(rng, 300, 32), uneven_rows(rng, 200, 32))
    assert figure is not None and figure.value > 0.8
    assert OneModel().outcome("synthetic", figure).status == "pass"


def test_sets_that_are_turned_at_random_have_the_stated_spread() -> None:
    """The mean square over random rotations is 2 / ((D - 1)(D + 2)), whatever the two sets."""
    rng, dims = np.random.default_rng(2), 12
    a, b = uneven_rows(rng, 80, dims), uneven_rows(rng, 90, dims)
    found = []
    for _ in range(2000):
        q, r = np.linalg.qr(rng.normal(size=(dims, dims)))
        figure = shared_directions(np.asarray(a @ (q * np.sign(np.diag(r))), np.float32), b)
        assert figure is not None
        found.append(figure.value)
    expected = 2 / ((dims - 1) * (dims + 2))
    squares = np.square(found)
    error = float(squares.std() / np.sqrt(len(found)))
    assert abs(squares.mean() - expected) < 4 * error and error < expected / 10
    assert abs(np.mean(found)) < 4 * np.sqrt(expected / len(found))


@pytest.mark.parametrize(("n", "dims"), [(49, 32), (60, 1)])
def test_few_vectors_show_no_directions(n: int, dims: int) -> None:
    rng = np.random.default_rng(3)
    assert shared_directions(uneven_rows(rng, n, dims), uneven_rows(rng, 300, dims)) is None


def test_vectors_of_all_directions_say_nothing() -> None:
    """They look the same however they are turned."""
    rng = np.random.default_rng(4)
    for dims in (8, 64, 512):
        assert shared_directions(unit_rows(rng, 200, dims), uneven_rows(rng, 200, dims)) is None


def test_messages_say_nothing_of_what_was_not_found() -> None:
    assert "removed" not in TrainingOverlap().outcome(Overlap(np.arange(0), (), 0, 400)).message
    assert "times that between training people" not in Spread().outcome("training", 0.13, figure(1.0)).message
    assert "as exposed as control people" in PrognosticScore().outcome(figure(-0.004), None, 0, 0).message
