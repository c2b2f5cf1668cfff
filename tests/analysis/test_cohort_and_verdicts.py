"""Cohort, verdicts and calibration on vectors whose truth is known."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import DIMENSION, crowd, embedded, unit
from unveil.analysis.cohort import (
    Cohort,
    chosen_by_digest,
    one_image_per_person,
    pooled_cohort,
    synthetic_corrections,
)
from unveil.analysis.comparisons import Comparisons
from unveil.auditor import analyse
from unveil.columns import Labels, Texts
from unveil.compare import compare_all, exact_cosine, open_backend
from unveil.config.settings import Settings
from unveil.images import Location
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.stats.checks import Check
from unveil.stats.intervals import exact_count
from unveil.types import ROLES, Embedded, Floats, Role


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Location("s"), Location("t"), tmp_path / "o", backend="numpy")


@pytest.fixture
def compare(settings: Settings) -> Comparisons:
    return Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())


def slow_correction(cohort: Cohort, of: Embedded, role: Role, skip_best: bool) -> list[float]:
    """Image by image, as `Cohort.correction` is defined."""
    sides = ["training"] * cohort.n_training + ["control"] * (len(cohort.images) - cohort.n_training)
    people = cohort.images.people_or_ids
    made = []
    for i, person in enumerate(of.people_or_ids):
        others = [j for j in range(len(people)) if (sides[j], people[j]) != (role, person)]
        cosine = exact_cosine(of.vectors, cohort.images.vectors, np.full(len(others), i), np.array(others))
        made.append(-float(np.sort(cosine)[::-1][int(skip_best) :][:10].mean()) / 2)
    return made


@pytest.mark.parametrize("at_most", [0, 1, 3, 49, 400])
@pytest.mark.parametrize("n", [0, 1, 50, 300])
def test_images_are_chosen_by_the_digests_of_their_digests(
    n: int, at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block by block, and with digests that are equal."""
    monkeypatch.setattr("unveil.analysis.cohort.BLOCK_ROWS", 7)
    digests = [str(number) for number in np.random.default_rng(0).integers(0, 100, size=n)]
    by_hash = sorted(range(n), key=lambda i: (hashlib.sha256(digests[i].encode()).digest(), i))
    assert chosen_by_digest(digests, at_most).tolist() == sorted(by_hash[:at_most])


@pytest.mark.parametrize("skip_best", [False, True])
def test_correction_is_half_the_mean_of_the_ten_closest_others(skip_best: bool) -> None:
    rng = np.random.default_rng(0)
    training = embedded(unit(crowd(rng, 60)), "t", [f"p{i % 20}" for i in range(60)])
    # Half of the control people have the name of a training person, who is somebody else.
    control = embedded(unit(crowd(rng, 40)), "c", [f"p{i % 20 + 10}" for i in range(40)])
    synthetic = embedded(unit(crowd(rng, 30)), "s", [f"p{i}" for i in range(30)])
    cohort = pooled_cohort(training, control, "numpy")
    assert cohort.n_training == 20 and len(cohort.images) == 40
    sides: list[tuple[Role, Embedded]] = [("training", training), ("control", control), ("synthetic", synthetic)]
    for role, of in sides:
        fast = cohort.correction(of, role, skip_best=skip_best)
        assert fast == pytest.approx(slow_correction(cohort, of, role, skip_best), abs=1e-12)
    own = slow_correction(cohort, cohort.images.take(np.arange(20)), "training", False)
    assert cohort.own_correction[:20] == pytest.approx(own, abs=1e-12)


@pytest.mark.parametrize("n_people", [1, 12, 90])
def test_correction_and_mean_score_in_one_pass_are_those_of_two(n_people: int) -> None:
    rng = np.random.default_rng(n_people)
    control = embedded(unit(crowd(rng, 90)), "c", [f"p{i % n_people}" for i in range(90)])
    synthetic = embedded(unit(crowd(rng, 40)), "s")
    cohort = pooled_cohort(control.take(np.zeros(0, np.int64)), control)
    sides: list[tuple[Role, Embedded]] = [("synthetic", synthetic), ("control", control)]
    for role, of in sides:
        correction, mean = cohort.correction_and_mean_score(of, role)
        assert np.array_equal(correction, cohort.correction(of, role, skip_best=True))
        for i, person in enumerate(of.people_or_ids):
            others = [j for j, name in enumerate(cohort.images.people_or_ids) if role == "synthetic" or name != person]
            cosine = exact_cosine(of.vectors, cohort.images.vectors, np.full(len(others), i), np.array(others, int))
            score = np.sort(cosine + cohort.own_correction[others])[::-1][1:11]
            assert mean[i] == pytest.approx(correction[i] + (score.mean() if len(score) else 0), abs=1e-12)


def test_the_cohort_holds_the_first_image_of_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    training = embedded(unit(crowd(rng, 90)), "t", [f"p{i // 3}" for i in range(90)])
    control = embedded(unit(crowd(rng, 20)), "c")
    cohort = pooled_cohort(training, control)
    assert cohort.images.ids == (*(f"t{i}" for i in range(0, 90, 3)), *control.ids)
    assert pooled_cohort(training, None).images.ids == cohort.images.ids[:30]

    monkeypatch.setattr("unveil.analysis.cohort.MAX_COHORT_PEOPLE", 12)
    some = pooled_cohort(training, control)
    assert len(some.images) == 12 and 0 < some.n_training < 12
    shuffled = rng.permutation(90)
    again = pooled_cohort(training.take(np.sort(shuffled)), control.take(np.arange(20)[::-1]))
    assert set(again.images.ids) == set(some.images.ids), "who is chosen does not depend on the order"


@pytest.mark.parametrize("leaks", [0, 300])
def test_the_scores_of_a_person_do_not_depend_on_their_side(
    compare: Comparisons, settings: Settings, leaks: int
) -> None:
    """What makes p-values valid: when two people change sides, everybody keeps their exposure."""
    synthetic, training, control = leaking_world(np.random.default_rng(9), leaks)
    everybody = training.joined(control)
    swapped = np.r_[400:410, 10:400, 0:10, 410:800]
    scores = []
    for rows in (np.arange(800), swapped):
        t, c = everybody.take(rows[:400]), everybody.take(rows[400:])
        found = analyse(settings, synthetic, t, c, [], compare, {})
        assert found.exposures is not None
        sides = (found.exposures.training, found.exposures.control)
        scores.append({p: s for side in sides for p, s in zip(side.people, side.score, strict=True)})
    assert scores[0] == scores[1]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_small_cohorts(n: int) -> None:
    rng = np.random.default_rng(0)
    cohort = Cohort(embedded(unit(crowd(rng, n)) if n else np.zeros((0, DIMENSION), np.float32), "c"), n)
    for role in ROLES:
        assert np.isfinite(cohort.correction(embedded(unit(crowd(rng, 7)), "x"), role, skip_best=True)).all()


def test_hubs_fill_the_raw_ranking_and_not_the_corrected_one() -> None:
    """Five training images close to everybody, and one true copy: raw cosine ranks hubs first."""
    rng = np.random.default_rng(1)
    training, synthetic = crowd(rng, 300), crowd(rng, 300)
    training[:5] = crowd(rng, 5, pull=4)
    synthetic[7] = training[100] + rng.normal(size=DIMENSION) * 0.095
    t, s = embedded(unit(training), "t"), embedded(unit(synthetic), "s")
    cohort = pooled_cohort(t, embedded(unit(crowd(rng, 100)), "c"))
    raw = compare_all(s.vectors, t.vectors, top_pairs=20)
    corrected = compare_all(
        *(s.vectors, t.vectors),
        top_pairs=20,
        query_offset=cohort.correction(s, "synthetic", skip_best=True),
        gallery_offset=cohort.correction(t, "training"),
    )
    assert (raw.top_pairs[:, 1] < 5).mean() > 0.7
    assert corrected.top_pairs[0].tolist() == [7, 100]
    assert (corrected.top_pairs[:, 1] < 5).mean() < 0.3


def slow_synthetic_closeness(
    synthetic: Embedded, real: Embedded, names: list[tuple[str, str]], by_people: Floats
) -> Floats:
    """Image by image, as `synthetic_corrections` is defined; ``names`` are the side and person of each real image."""
    cosine = np.array(
        [[float(np.dot(s.astype(float), r.astype(float))) for s in synthetic.vectors] for r in real.vectors]
    )
    closest = [names[int(np.argmax(cosine[:, k] + by_people))] for k in range(len(synthetic))]
    made = []
    for j, own in enumerate(names):
        others = [cosine[j, k] for k in range(len(synthetic)) if closest[k] != own]
        made.append(-float(np.mean(sorted(others)[-5:])) / 2 if others else 0.0)
    return np.array(made)


@pytest.mark.parametrize(("n_synthetic", "copies"), [(30, 0), (150, 40), (150, 100), (4, 0), (6, 6)])
def test_closeness_to_the_synthetic_set_leaves_out_the_own_images(n_synthetic: int, copies: int) -> None:
    """Person t0 is reproduced ``copies`` times: their own closeness does not rise."""
    rng = np.random.default_rng(7)
    training = embedded(unit(crowd(rng, 40)), "t", [f"p{i % 20}" for i in range(40)])
    control = embedded(unit(crowd(rng, 30)), "c", [f"p{i}" for i in range(30)])
    made = crowd(rng, n_synthetic)
    made[:copies] = training.vectors[0] + rng.normal(size=(copies, DIMENSION)) * 0.02
    synthetic = embedded(unit(made), "s")
    by_people = rng.normal(size=70) * 0.05
    parts = (by_people[:40], by_people[40:])
    fast = np.concatenate(synthetic_corrections(synthetic, (training, control), parts, np.zeros(0, np.int64), "numpy"))
    names = [*(("t", p) for p in training.people_or_ids), *(("c", p) for p in control.people_or_ids)]
    assert fast == pytest.approx(
        slow_synthetic_closeness(synthetic, training.joined(control), names, by_people), abs=1e-6
    )
    explained = np.arange(3)
    rest = synthetic_corrections(synthetic, (training, control), parts, explained, "numpy")
    without = synthetic_corrections(
        synthetic.take(np.arange(3, n_synthetic)), (training, control), parts, explained[:0], "numpy"
    )
    assert all(np.array_equal(x, y) for x, y in zip(rest, without, strict=True))


def test_one_image_of_each_of_some_people() -> None:
    rng = np.random.default_rng(4)
    people = tuple(f"p{i % 100}" for i in range(300))
    rows = one_image_per_person(people, rng, 30)
    assert len(rows) == len({people[i] for i in rows}) == 30


def leaking_world(rng: np.random.Generator, leaks: int) -> tuple[Embedded, Embedded, Embedded]:
    training, control, synthetic = crowd(rng, 400), crowd(rng, 400), crowd(rng, 300)
    synthetic[:leaks] = training[:leaks] + rng.normal(size=(leaks, DIMENSION)) * 0.05
    return (
        embedded(unit(synthetic), "s"),
        embedded(unit(training), "t", [f"p{i}" for i in range(400)]),
        embedded(unit(control), "c"),
    )


@pytest.mark.parametrize(
    ("leaks", "evidence"), [(60, {"global test", "conformal", "GPD tail", "identities"}), (3, {"GPD tail"})]
)
def test_many_leaks_are_conformal_and_a_few_need_the_tail(
    compare: Comparisons, settings: Settings, leaks: int, evidence: set[str]
) -> None:
    synthetic, training, control = leaking_world(np.random.default_rng(5), leaks)
    found = analyse(settings, synthetic, training, control, [], compare, {})
    assert found.verdict == "leak found" and set(found.evidence) == evidence
    assert {p.person for p in found.people if p.significant_by} >= {f"p{i}" for i in range(leaks)}
    assert sum(bool(p.significant_by) for p in found.people) <= leaks + 4
    assert found.calibration is not None
    limit = found.calibration.detection_limit
    # Of 400 people, 20 would have to exceed 400 control people if chance explained everybody.
    assert limit.min_people_conformal == np.ceil(20 * limit.chance_share * 400 / 401)
    assert limit.chance_share == pytest.approx(1 - 0.9 * leaks / 400, abs=0.05)


def test_no_leak_is_none_detected_with_control_and_without(compare: Comparisons, settings: Settings) -> None:
    synthetic, training, control = leaking_world(np.random.default_rng(6), 0)
    assert analyse(settings, synthetic, training, control, [], compare, {}).verdict == "none detected"
    alone = analyse(settings, synthetic, training, None, [], compare, {})
    assert alone.no_control is not None and alone.no_control.n_searches == 400
    assert alone.verdict == "none detected (no control set)" and alone.evidence == ()
    assert not alone.significant_people and not any(i.significant for i in alone.identities)


@pytest.mark.parametrize(("leaks", "evidence"), [(60, {"crowd test", "conformal search", "GPD search"}), (3, set())])
def test_leaks_without_a_control_set(compare: Comparisons, settings: Settings, leaks: int, evidence: set[str]) -> None:
    """Many leaks are found. Three of 300 images are too few for the tests, but they are never hidden."""
    synthetic, training, _ = leaking_world(np.random.default_rng(7), leaks)
    found = analyse(settings, synthetic, training, None, [], compare, {})
    assert set(found.evidence) == evidence
    assert found.verdict == ("leak indicated (no control set)" if evidence else "inconclusive")
    assert {p.person for p in found.improbable_pairs} >= {f"p{i}" for i in range(leaks)}
    if evidence:
        significant = {p.person for p in found.significant_people}
        assert significant >= {f"p{i}" for i in range(leaks)} and len(significant) <= leaks + 6
        assert {i.training_id for i in found.identities if i.significant} >= {f"t{i}" for i in range(leaks)}
        assert all(p.q is not None and p.q_gpd is not None for p in found.people)


def test_without_labels_or_people_nothing_shows_chance(compare: Comparisons, settings: Settings) -> None:
    synthetic, training, _ = leaking_world(np.random.default_rng(7), 30)
    unlabelled = replace(training, people=Labels.missing(400))
    few = training.take(np.arange(99))
    # People who all share one file are one, whatever their names are.
    one_file = replace(training, digests=Texts(["sha"] * 400), vectors=np.repeat(training.vectors[:1], 400, axis=0))
    for images in (unlabelled, few, one_file):
        found = analyse(settings, synthetic, images, None, [], compare, {})
        assert found.verdict == "inconclusive" and found.no_control is None and not found.significant_people


def test_people_who_mostly_share_a_file_show_no_chance(compare: Comparisons, settings: Settings) -> None:
    """A placeholder in most folders: its people are one, and searches among the few others are no measure."""
    synthetic, training, _ = leaking_world(np.random.default_rng(7), 0)
    for n, verdict in ((120, "inconclusive"), (40, "none detected (no control set)")):
        placeholder = replace(
            training.take(np.arange(n)), digests=Texts(["sha"] * n), vectors=np.repeat(training.vectors[:1], n, axis=0)
        )
        found = analyse(settings, synthetic, training.joined(placeholder), None, [], compare, {})
        assert (found.verdict, [c.name for c in found.checks]) == (
            verdict,
            ["shared files of training"] * (n == 120),
        )


def test_labels_of_batches_are_not_used(compare: Comparisons, settings: Settings) -> None:
    """Where labels of synthetic images do not hold, images are the units, and people are found all the same."""
    synthetic, training, _ = leaking_world(np.random.default_rng(8), 60)
    batches = replace(synthetic, people=Labels.of(f"batch {i % 3}" for i in range(300)))
    failed = Check("labels of synthetic", "fail", exact_count(0, 1, "x"), "why", ("identities",))
    found = analyse(settings, batches, training, None, [failed], compare, {}).reliable()
    assert found.no_control is not None and found.no_control.unit == "image" and found.no_control.n_units == 300
    assert len(found.significant_people) >= 60 and not any(i.significant for i in found.identities)


def test_people_who_share_a_file_are_no_false_match(compare: Comparisons, settings: Settings) -> None:
    """One person with two names, one file in both: the file must not show how close chance comes."""
    synthetic, training, _ = leaking_world(np.random.default_rng(9), 60)
    twice = training.joined(
        replace(training.take(np.arange(200, 260)), people=Labels.of(f"again {i}" for i in range(60)))
    )
    found = analyse(settings, synthetic, twice, None, [], compare, {})
    assert len(found.significant_people) >= 60


def test_a_shift_of_all_synthetic_images_is_corrected_and_shown(compare: Comparisons, settings: Settings) -> None:
    """Synthetic images that are closer to everybody than real people are show nobody."""
    rng = np.random.default_rng(10)
    training = embedded(unit(crowd(rng, 400)), "t", [f"p{i}" for i in range(400)])
    synthetic = embedded(unit(crowd(rng, 300, pull=2)), "s")
    found = analyse(settings, synthetic, training, None, [], compare, {})
    assert found.verdict == "none detected (no control set)" and found.no_control is not None
    (shift,) = found.no_control.shifts
    assert shift.location.low > 0 and shift.correction > shift.location.value
