"""Obvious leaks, as they come: none of them may end as inconclusive or as none detected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.analysis.worlds import DIMENSION, crowd, embedded, unit
from tests.builders import audit, drawn_faces, encoded, write
from tests.cli.runner import unveil as command_line
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import Findings
from unveil.auditor import analyse
from unveil.compare import open_backend
from unveil.config.settings import Settings
from unveil.demo.faces import face_model
from unveil.demo.world import World
from unveil.images import Location
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.runs.finished import FinishedRun
from unveil.stats.checks import Check
from unveil.types import ChannelVectors, Embedded


def test_training_files_among_the_synthetic_ones_without_a_control_set(
    world: World, store: Path, tmp_path: Path
) -> None:
    """Three files, byte by byte, and one that is brighter and compressed: facts, and exit code 1."""
    for i, face in enumerate(drawn_faces(20, seed=3)):
        write(tmp_path / f"synthetic/{i}.png", encoded(face))
    people = [f"person-{i:04d}" for i in (5, 50, 140)]
    for person in people:
        shutil.copy(world.training / person / "1.png", tmp_path / f"synthetic/{person}.png")
    with Image.open(world.training / "person-0100/1.png") as image:
        ImageEnhance.Brightness(image.convert("RGB")).enhance(1.1).save(tmp_path / "synthetic/changed.jpg", quality=60)
    done = command_line(
        *("audit", "--synthetic", tmp_path / "synthetic", "--training", world.training, "-o", tmp_path / "run"),
        *("--store", store, "--channels", "face", "--fail-on", "leak"),
    )
    said = " ".join(done.stdout.split())
    assert done.returncode == 1 and "3 synthetic images are exact copies of training images of 3 people." in said
    assert "1 synthetic image is a near-identical copy of training images of 1 person." in said
    page = (tmp_path / "run/report.html").read_text()
    assert "Copies" in page and all(f"{person}/1.png" in page for person in [*people, "person-0100"])
    listed = {p.person for p in FinishedRun(tmp_path / "run").result.significant_people}
    assert listed >= {*people, "person-0100"}


def test_one_training_image_shipped_many_times(world: World, store: Path, tmp_path: Path) -> None:
    """The synthetic set has no spread at all, and shows one person."""
    for i in range(80):
        write(tmp_path / f"synthetic/{i}.png", (world.training / "person-0003/1.png").read_bytes())
    sources = (tmp_path / "synthetic", world.training, world.control)
    result = audit(*sources, out=tmp_path / "run", store=store, channels="face", planted_leaks="off", resamples=1)
    assert result.verdict == "leak found" and result.evidence[0] == "exact copy"
    assert {c.person for c in result.copies} == {"person-0003"}
    assert "person-0003" in {p.person for p in result.significant_people}


def test_a_generator_that_knows_few_people_has_low_diversity_and_leaks(
    world: World, store: Path, tmp_path: Path
) -> None:
    """Twelve training people drawn again and again: what a memorising generator looks like."""
    model, rng = face_model(), np.random.default_rng(7)
    people = model.sample(150, rng)[:12]
    for i in range(10):
        for person, face in enumerate(model.render(model.perturb(people, 0.15, rng))):
            write(tmp_path / f"synthetic/{person}-{i}.png", encoded(face))
    sources = (tmp_path / "synthetic", world.training, world.control)
    result = audit(*sources, out=tmp_path / "run", store=store, planted_leaks="off", resamples=1)
    assert result.verdict == "leak found"
    known = {f"person-{i:04d}" for i in range(12)}
    found = {p.person for p in result.significant_people}
    assert len(found & known) >= 10 and len(found - known) <= 2


def test_batch_folders_are_no_reason_to_doubt_findings_about_people(
    audited: tuple[object, Path], world: World, store: Path, tmp_path: Path
) -> None:
    """Folders of a generator's batches are no people: the labels are wrong, so only the identity test is blocked."""
    for i, file in enumerate(sorted(world.synthetic.rglob("*.png"))):
        write(tmp_path / f"synthetic/{i // 3:05d}/{file.name}", file.read_bytes())
    sources = (tmp_path / "synthetic", world.training, world.control)
    result = audit(
        *sources, out=tmp_path / "run", store=store, planted_leaks="off", resamples=1, labels={"synthetic": "folder"}
    )
    failed = [c.name for c in result.input_checks if c.status == "fail"]
    assert failed == ["labels of synthetic"]
    assert result.verdict == "leak found" and "identities" not in result.evidence
    assert result.significant_people and not any(i.significant for i in result.synthetic_identities)
    assert any("labels of synthetic" in line for line in result.limitations)


def synthetic_folder(folder: Path, people: np.ndarray, *, seed: int, change: float = 0.15) -> Path:
    """An image of each person, in files without labels; from a ``change`` of 0.3 on no two are the same picture."""
    model, rng = face_model(), np.random.default_rng(seed)
    for i, face in enumerate(model.render(model.perturb(people, change, rng))):
        write(folder / f"{i:04d}.png", encoded(face))
    return folder


def test_without_a_control_set_a_generator_that_copies_training_people_and_one_that_learnt_others(
    world: World, store: Path, tmp_path: Path
) -> None:
    """The most common case: there are no held-out people, so training people are searched among each other."""
    model, rng = face_model(), np.random.default_rng(7)
    training, others = model.sample(150, rng), model.sample(60, np.random.default_rng(8))
    for name, people in (("copies", np.concatenate([training[:30], others[:30]])), ("others", others)):
        synthetic = synthetic_folder(tmp_path / name, people, seed=9, change=0.35)
        run = tmp_path / f"run-{name}"
        result = audit(synthetic, world.training, out=run, store=store)
        assert result.no_control is not None and result.no_control.n_searches == 150
        significant = {p.person for p in result.significant_people}
        page = (run / "report.html").read_text()
        if name == "copies":
            assert result.verdict == "leak indicated (no control set)"
            known = {f"person-{i:04d}" for i in range(30)}
            assert len(significant & known) >= 20 and len(significant - known) <= 2
            assert "Leak indicated (no control set)" in page
        else:
            assert result.verdict == "none detected (no control set)" and not significant
            assert not result.improbable_pairs and "None detected (no control set)" in page


def small_world(
    seed: int, leaks: int, settings: Settings, by: str = "face"
) -> tuple[Comparisons, Embedded, Embedded, Embedded]:
    """250 training and 250 control people and 300 synthetic images by two channels, of which only ``by`` leaks."""
    rng = np.random.default_rng(seed)
    made = []
    leaking = [crowd(rng, 250), crowd(rng, 250), crowd(rng, 300)]
    leaking[2][:leaks] = leaking[0][:leaks] + rng.normal(size=(leaks, DIMENSION)) * 0.06
    for prefix, shown, labelled in zip("tcs", leaking, (True, True, False), strict=True):
        n = len(shown)
        face, appearance = (shown, crowd(rng, n)) if by == "face" else (crowd(rng, n), shown)
        images = embedded(unit(face), prefix, [f"{prefix}{i}" for i in range(n)] if labelled else None)
        view = ChannelVectors("appearance", unit(appearance), "appearance")
        made.append(replace(images, views=(view,)))
    compare = Comparisons(RunDirectory(settings.out, {}), open_backend("numpy", 1), Silent())
    return compare, made[2], made[0], made[1]


def found_people(settings: Settings, seed: int, leaks: int, channels: int = 2) -> Findings:
    settings = replace(settings, out=settings.out / f"{seed}-{channels}")
    compare, synthetic, training, control = small_world(seed, leaks, settings)
    if channels == 1:
        synthetic, training, control = (x.through("face") for x in (synthetic, training, control))
    return analyse(settings, synthetic, training, control, [], compare, {})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Location("s"), Location("t"), tmp_path / "o", backend="numpy", resamples=1)


def test_a_channel_that_shows_nothing_loses_no_findings(settings: Settings) -> None:
    """Case 6 in vectors: 34 leaks among 250 people, three splits."""
    for seed in range(3):
        both, alone = (found_people(settings, seed, 34, channels).significant_people for channels in (2, 1))
        true = {f"t{i}" for i in range(34)}
        assert len(true & {p.person for p in both}) >= 30
        assert len(true & {p.person for p in both}) >= len(true & {p.person for p in alone}) - 1


@pytest.mark.parametrize("by", ["face", "appearance"])
def test_every_training_person_leaks(settings: Settings, by: str) -> None:
    """As many control people as training people: half of all real people are exposed, by one channel."""
    compare, synthetic, training, control = small_world(8, 250, settings, by)
    found = analyse(settings, synthetic, training, control, [], compare, {})
    assert found.verdict == "leak found" and len(found.significant_people) >= 240
    assert {p.channel for p in found.significant_people} == {by}


def test_no_seed_decides_who_is_named(settings: Settings) -> None:
    """Case 7: seeds 0 to 9 give one list, with the same scores and q-values."""
    compare, synthetic, training, control = small_world(5, 34, settings)
    lists = set()
    for seed in range(10):
        found = analyse(replace(settings, seed=seed), synthetic, training, control, [], compare, {})
        lists.add(tuple((p.person, p.score, p.q, p.q_gpd, p.significant_by) for p in found.people))
    assert len(lists) == 1


def test_people_who_look_alike_stay_on_both_sides(settings: Settings) -> None:
    """Case 8: seven control people with nearly the vectors of training people, and other images."""
    compare, synthetic, training, control = small_world(6, 0, settings)
    vectors = np.array(control.vectors)
    vectors[:7] = unit(np.asarray(training.vectors[:7] + np.random.default_rng(0).normal(size=(7, DIMENSION)) * 0.02))
    control = replace(control, vectors=vectors)
    found = analyse(settings, synthetic, training, control, [], compare, {})
    assert found.overlap == () and found.control is not None and len(found.control.side.images) == 250
    assert found.verdict == "none detected"


def _checks(found: Findings) -> dict[str, Check]:
    return {check.name: check for check in found.checks}


@pytest.mark.parametrize("poisoned", [0, 34])
def test_control_people_in_the_synthetic_set_are_no_control(settings: Settings, poisoned: int) -> None:
    """Of vectors: as many control people as training people are reproduced, so that no test finds a difference."""
    compare, synthetic, training, control = small_world(4, 34, settings)
    vectors = np.array(synthetic.vectors)
    noise = np.random.default_rng(1).normal(size=(poisoned, DIMENSION)) * 0.06
    vectors[100 : 100 + poisoned] = unit(np.asarray(control.vectors[:poisoned] + noise))
    found = analyse(settings, replace(synthetic, vectors=vectors), training, control, [], compare, {})
    if not poisoned:
        assert found.verdict == "leak found" and "control people in synthetic" not in _checks(found)
        return
    check = _checks(found)["control people in synthetic"]
    assert (found.verdict, found.evidence, check.status) == ("inconclusive", (), "fail")
    assert 30 <= check.figure.value <= 36 and "were probably not held out" in check.message


def test_near_copies_of_both_sides_among_many_images_are_improbable(settings: Settings) -> None:
    """Of vectors: a tenth of both sides, and so many images that no p-value of the fitted tail times them is small."""
    compare, synthetic, training, control = small_world(4, 0, settings)
    rng = np.random.default_rng(1)
    copies = np.concatenate([training.vectors[:25], control.vectors[:25]])
    copies = unit(np.asarray(copies + rng.normal(size=copies.shape) * 0.01))
    many = np.concatenate([unit(crowd(rng, 1950)), copies])
    synthetic = replace(
        embedded(many, "s"), views=(ChannelVectors("appearance", unit(crowd(rng, 2000)), "appearance"),)
    )
    found = analyse(settings, synthetic, training, control, [], compare, {})
    check = _checks(found)["improbable pairs"]
    assert (found.verdict, check.status, check.figure.value) == ("inconclusive", "fail", 25)
    held_out = replace(synthetic, vectors=unit(crowd(rng, 2000)))
    assert analyse(settings, held_out, training, control, [], compare, {}).verdict == "none detected"


def test_control_people_who_were_held_out_pass(settings: Settings) -> None:
    """Ten splits without a leak: none is inconclusive."""
    for seed in range(10):
        found = found_people(settings, seed, 0)
        assert (found.verdict, _checks(found)["control people in synthetic"].status) == ("none detected", "pass")


def test_noisy_copies_of_control_people_do_not_hide_those_of_training_people(
    world: World, store: Path, tmp_path: Path
) -> None:
    """A vendor delivers both sets. So few control people have labels that nobody can be searched for."""
    rng = np.random.default_rng(3)
    others = synthetic_folder(tmp_path / "synthetic", face_model().sample(80, np.random.default_rng(8)), seed=9)
    for role, folder in (("training", world.training), ("control", world.control)):
        for i, person in enumerate(sorted(folder.iterdir())[:80]):
            (file,) = list(person.iterdir())[:1]
            shutil.copytree(person, tmp_path / role / person.name)
            if i < 15:
                pixels = np.asarray(Image.open(file).convert("RGB"))
                noisy = np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
                write(others / f"{role}-{i}.png", encoded(noisy))
    sources = (others, tmp_path / "training", tmp_path / "control")
    result = audit(*sources, out=tmp_path / "run", store=store, planted_leaks="off", resamples=1)
    (check,) = (c for c in result.input_checks if c.name == "control people in synthetic")
    assert (result.verdict, result.evidence) == ("leak found", ("near-identical copy",))
    assert check.status == "fail" and check.figure.value >= 12
    assert "were probably not held out" in (tmp_path / "run/report.html").read_text()
