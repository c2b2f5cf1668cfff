"""Synthetic identities as a whole: their mean vectors, whether labels hold, and the scores that follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import DIMENSION, crowd, embedded, unit
from unveil.analysis.cohort import channel_context, pooled_cohort
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings
from unveil.analysis.identities import Cohesion, Identities, mean_identities, measure_cohesion
from unveil.analysis.scores import RealSide, score_side
from unveil.auditor import analyse
from unveil.columns import Labels, Texts
from unveil.compare import exact_cosine, open_backend
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.types import ChannelVectors, Embedded, Estimate

N_PEOPLE, PER_IDENTITY = 150, 8


def labelled(rng: np.random.Generator, *, pull: float = 0.0) -> tuple[Embedded, Embedded, Embedded]:
    """Synthetic identities of 8 images each, training and control people; each identity is pulled to a person."""
    people, others = crowd(rng, 2 * N_PEOPLE, pull=0), crowd(rng, N_PEOPLE, pull=0)
    base = (1 - pull) * others + pull * people[:N_PEOPLE]
    noise = rng.normal(size=(N_PEOPLE * PER_IDENTITY, DIMENSION)) / np.sqrt(DIMENSION)
    synthetic = unit(np.repeat(base, PER_IDENTITY, axis=0) + noise)
    real = unit(people)
    names = [f"identity {i // PER_IDENTITY}" for i in range(len(synthetic))]
    return (
        embedded(synthetic, "s", names),
        embedded(real[:N_PEOPLE], "t"),
        embedded(real[N_PEOPLE:], "c"),
    )


def test_mean_vectors_by_hand() -> None:
    vectors = unit(np.array([[1.0, 0], [0, 1], [1, 0], [3, 4], [-1, 0], [0, -1]]))
    view = ChannelVectors("appearance", vectors[::-1], "m")
    images = replace(embedded(vectors, "s", ["a", "b", "a", None, "c", "b"]), views=(view,))
    found = mean_identities(images)
    assert found.means.ids == ("a", "b") and found.of_image.tolist() == [0, 1, 0, -1, -1, 1]
    assert found.n_images.tolist() == [2, 2]
    # The two images of b are opposite: their mean has no direction, so the first stands for them.
    assert found.means.vectors == pytest.approx(np.array([[1, 0], [0, 1]]))
    # In the other channel the images of a are (0, -1) and (0.6, 0.8).
    a = np.array([0.6, -0.2]) / np.sqrt(0.4)
    assert found.through("appearance").means.vectors[0] == pytest.approx(a, abs=1e-6)
    position, rows = found.images(np.array([1, 0, 1]))
    assert (position.tolist(), rows.tolist()) == ([0, 0, 1, 1, 2, 2], [1, 5, 0, 2, 1, 5])


def test_a_changed_image_changes_the_fingerprint_of_its_identity_alone() -> None:
    images = embedded(unit(np.ones((4, 2))), "s", ["a", "a", "b", "b"])
    changed = replace(images, digests=Texts([*images.digests[:3], "another"]))
    before, after = mean_identities(images).means, mean_identities(changed).means
    assert before.digests[0] == after.digests[0] and before.digests[1] != after.digests[1]
    assert before.fingerprint != after.fingerprint


def test_sets_without_labels_have_no_identities() -> None:
    images = embedded(unit(np.eye(4)), "s")
    found = mean_identities(images)
    assert len(found) == 0 and found.means.vectors.shape == (0, 4) and (found.of_image == -1).all()
    assert not measure_cohesion(images, found).holds


def test_labels_hold_where_images_of_one_identity_are_alike_and_not_where_they_are_shuffled() -> None:
    rng = np.random.default_rng(0)
    synthetic, _, _ = labelled(rng)
    cohesion = measure_cohesion(synthetic, mean_identities(synthetic))
    assert cohesion.holds and cohesion.figure is not None and cohesion.figure.value > 0.95
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(synthetic))
        shuffled = replace(synthetic, people=synthetic.people.take(order))
        meaningless = measure_cohesion(shuffled, mean_identities(shuffled))
        assert not meaningless.holds and meaningless.figure is not None
        assert meaningless.figure.value == pytest.approx(0.5, abs=0.05)


def test_four_images_are_too_few_to_judge_labels() -> None:
    images = embedded(unit(np.eye(4)), "s", ["a", "a", "b", "b"])
    assert measure_cohesion(images, mean_identities(images)).figure is None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {"synthetic": tmp_path, "training": tmp_path, "control": tmp_path, "out": tmp_path / "run", "resamples": 1}
    return settings_from(values)


@pytest.fixture
def compare(settings: Settings) -> Comparisons:
    return Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())


def score(
    synthetic: Embedded, training: Embedded, control: Embedded, identities: Identities | None, compare: Comparisons
) -> tuple[RealSide, RealSide]:
    """Both sides by the face channel."""
    context = {"face": channel_context(synthetic, pooled_cohort(training, control), identities, 1.0).on_cohort_scale()}
    return (
        score_side("training", training, context, compare, 5),
        score_side("control", control, context, compare, 5),
    )


def found_at(sides: tuple[RealSide, RealSide], rate: float) -> float:
    """The share of training people above the score that ``rate`` of the control people exceed."""
    training, control = (side.exposure().score for side in sides)
    return float((training > np.quantile(control, 1 - rate)).mean())


def test_whole_identities_find_what_single_images_cannot(compare: Comparisons) -> None:
    synthetic, training, control = labelled(np.random.default_rng(3), pull=0.32)
    by_image = score(synthetic, training, control, None, compare)
    by_identity = score(synthetic, training, control, mean_identities(synthetic), compare)
    assert found_at(by_identity, 0.02) > 1.3 * found_at(by_image, 0.02) > 0
    exposed = by_identity[0].exposure()
    assert (exposed.identity >= 0).mean() > 0.5 and (by_image[0].exposure().identity == -1).all()


def test_the_pair_of_an_identity_shows_its_closest_image(compare: Comparisons) -> None:
    synthetic, training, control = labelled(np.random.default_rng(4), pull=0.6)
    side, _ = score(synthetic, training, control, mean_identities(synthetic), compare)
    exposed, matches = side.exposure(), side.by_channel["face"]
    assert matches.identities is not None
    for i in np.flatnonzero(exposed.identity >= 0)[:20]:
        identity, (query, row) = exposed.identity[i], exposed.best_pair[i]
        own = np.flatnonzero(matches.identities.context.identities.of_image == identity)
        cosine = exact_cosine(synthetic.vectors, training.vectors, own, np.full(len(own), row))
        assert query == own[np.argmax(cosine + matches.identities.synthetic_correction[own])]
        assert exposed.cosine[i] == cosine[list(own).index(query)]
        mean = exact_cosine(
            matches.identities.context.identities.means.vectors,
            training.vectors,
            exposed.identity[i : i + 1],
            np.array([row]),
        )
        correction = matches.identities.context.correction[identity] + matches.correction[row]
        assert exposed.score[i] == pytest.approx(matches.identities.context.scale.of(mean + correction)[0])
    # Every image of an identity has at least the score of its identity.
    row, best = matches.closest
    of_image = matches.identities.context.identities.of_image
    whole = matches.identities.context.scale.of(matches.identities.matches.score[:, 0])
    assert (best >= whole[of_image]).all() and len(row) == len(synthetic)


def test_single_images_are_lowered_only_where_identities_are_compared() -> None:
    synthetic, training, control = labelled(np.random.default_rng(5))
    cohort = pooled_cohort(training, control)
    without, with_identities = (
        channel_context(synthetic, cohort, i, 0.5).on_cohort_scale() for i in (None, mean_identities(synthetic))
    )
    assert with_identities.scale.of(np.ones(1)) == pytest.approx(without.scale.of(np.ones(1)) - 0.5)


@pytest.mark.parametrize(
    ("share", "holds", "handicap"), [(0.5, False, 0), (0.6, True, 0), (0.7, True, 0.5), (0.9, True, 1)]
)
def test_single_images_are_lowered_as_far_as_labels_hold(share: float, holds: bool, handicap: float) -> None:
    cohesion = Cohesion("face", Estimate(share, share, share, 0.95, 100, "share"))
    assert cohesion.holds == holds and cohesion.handicap == pytest.approx(handicap)


def test_findings_say_how_many_images_agree(compare: Comparisons, settings: Settings) -> None:
    synthetic, training, control = labelled(np.random.default_rng(6), pull=0.6)
    found = audited(settings, synthetic, training, control, compare)
    assert found.calibration is not None
    (evidence,) = found.calibration.identity_evidence
    assert (evidence.channel, evidence.n_identities, evidence.used) == ("face", N_PEOPLE, True)
    by_identity = [p for p in found.people if p.identity is not None]
    assert len(by_identity) > N_PEOPLE / 2
    pooled = training.joined(control)
    # The closest of all real people of each image, by the scores of the audit.
    assert found.control is not None
    corrected = [side.by_channel["face"].corrected for side in (found.training, found.control.side)]
    closest = np.where(
        corrected[0].score[:, 0] > corrected[1].score[:, 0],
        corrected[0].rows[:, 0],
        corrected[1].rows[:, 0] + N_PEOPLE,
    )
    for person in by_identity[:10]:
        assert person.identity is not None
        images = [i for i, label in enumerate(synthetic.people) if label == person.identity.identity]
        agreeing = sum(pooled.ids[closest[i]] == person.person for i in images)
        assert (person.identity.n_images, person.identity.n_agreeing) == (PER_IDENTITY, agreeing)
        assert person.synthetic_id in {synthetic.ids[i] for i in images}
    identity = next(i for i in found.identities if i.significant)
    assert identity.n_images == PER_IDENTITY and 0 < identity.n_agreeing <= PER_IDENTITY


def test_labels_that_mean_nothing_change_no_finding_about_people(compare: Comparisons, settings: Settings) -> None:
    synthetic, training, control = labelled(np.random.default_rng(7), pull=0.6)
    order = np.random.default_rng(0).permutation(len(synthetic))
    shuffled = replace(synthetic, people=synthetic.people.take(order))
    unlabelled = replace(synthetic, people=Labels.missing(len(synthetic)))
    found = [audited(settings, images, training, control, compare) for images in (shuffled, unlabelled)]
    assert found[0].people == found[1].people and found[0].tests is not None
    assert found[0].calibration is not None and not found[0].calibration.identity_evidence[0].used


def audited(
    settings: Settings, synthetic: Embedded, training: Embedded, control: Embedded, compare: Comparisons
) -> Findings:
    return analyse(settings, synthetic, training, control, [], compare, {})
