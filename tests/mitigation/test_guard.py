"""The guard decides as the audit does, and a lookup answers a person correctly."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import unveil
from tests.builders import audit, drawn_faces, encoded, examples, unit_rows, write
from tests.cli.runner import unveil as command_line
from unveil.cli.print_results import print_lookup
from unveil.config.settings import Settings
from unveil.demo.world import World
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import InputError, ModelError, SettingError, StoreError
from unveil.images import Remark, decode_rgb, open_source
from unveil.io.checksums import file_sha256, sealed, unsealed
from unveil.mitigation import Guard, identical_files, lookup
from unveil.mitigation.batch import write_decisions
from unveil.mitigation.guard import (
    Decision,
    DigestIndex,
    GuardIndex,
    alignment_of,
    audit_threshold,
    best_rows,
    false_refusals,
    guard_threshold,
    training_refused,
)
from unveil.mitigation.inputs import _HIDDEN
from unveil.mitigation.person_lookup import Answer, Comparison, LookupMatch, Search
from unveil.mitigation.subject_letter import letter
from unveil.mitigation.threshold import MitigationThreshold, mitigation_threshold
from unveil.results.calibration import Exposures
from unveil.runs.finished import FinishedRun
from unveil.stats.checks import Check
from unveil.types import Estimate

Audited = tuple[unveil.AuditResult, Path]


@pytest.fixture(scope="module")
def guard(audited: Audited, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guards") / "guard"
    Guard.build(FinishedRun(audited[1]), folder, names=True)
    return folder


def test_decisions_are_those_of_the_audit(guard: Path, audited: Audited, world: World) -> None:
    """On the audit's own synthetic images: the same closest image and the same score, to half precision."""
    run = FinishedRun(audited[1])
    opened = Guard.open(guard, device="cpu")
    known = {p.id: p for p in run.images}
    files = sorted(world.synthetic.iterdir())
    decisions = opened.check(files)
    assert len(opened) == 150 and len(decisions) == len(known)
    apart = [abs(d.score - known[f.name].score) for f, d in zip(files, decisions, strict=True) if d.score is not None]
    assert len(apart) == len(files) and max(apart) < 0.05
    for file, decision in zip(files, decisions, strict=True):
        if abs(known[file.name].score - opened.threshold.score) > 0.05:
            assert decision.passes == (known[file.name].score < opened.threshold.score)
    refused = [(f.name, d) for f, d in zip(files, decisions, strict=True) if not d.passes]
    named = sum(d.id == known[name].training_id for name, d in refused)
    assert len(refused) >= 30 and named == len(refused)


def test_images_of_every_form(guard: Path, world: World) -> None:
    opened = Guard.open(guard, device="cpu")
    file = min(world.training.rglob("*.png"))
    pixels = np.array(Image.open(file).convert("RGB"))
    by_path, by_bytes, by_pixels, nothing = opened.check(
        [file, file.read_bytes(), pixels, np.zeros((96, 64, 3), np.uint8)]
    )
    assert by_path == by_bytes and by_path.answer == "refuse" and by_path.why == "identical to training image"
    assert by_pixels == by_path and by_pixels.score is not None
    assert nothing.answer == "no face" and not nothing.passes and nothing.why
    assert opened.check([]) == []
    for wrong in (np.zeros((3, 96, 96), np.uint8), np.zeros((96, 96, 3), np.float32)):
        with pytest.raises(InputError, match="uint8, RGB"):
            opened.check([wrong])  # type: ignore[list-item]
    # The one that follows an image would pass with its file.
    several = encoded(pixels, "JPEG") + encoded(pixels[:32, :32], "JPEG")
    for decision in opened.check([b"no image", several]):
        assert decision.answer == "no face" and not decision.passes


def test_training_files_never_pass(audited: Audited, world: World, tmp_path: Path) -> None:
    """However high the threshold, and also if they are renamed; the share refused by score alone is reported."""
    run = FinishedRun(audited[1])
    built = Guard.build(run, tmp_path / "guard", threshold="1e6", names=True)
    assert built.threshold.score == 1e6
    assert (built.training_refused.value, built.training_refused.n, built.training_refused.level) == (0, 150, 1)
    training = run.embedded("training")
    files = [world.training / id for id in training.ids]
    opened = Guard.open(tmp_path / "guard", device="cpu")
    decisions = opened.check([*files[:-1], files[-1].read_bytes()])
    assert {(d.answer, d.why) for d in decisions} == {("refuse", "identical to training image")}
    assert [d.row for d in decisions] == list(range(150)) and [d.id for d in decisions] == list(training.ids)
    # Another file with the same pixels is the same image; one changed pixel makes another, on which the score decides.
    pixels = decode_rgb(files[0].read_bytes())
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    same = opened.check(
        [files[0].read_bytes() + b" ", encoded(pixels, compress_level=0), pixels, Image.fromarray(pixels)]
    )
    assert {(d.answer, d.why, d.row) for d in same} == {("refuse", "identical to training image", 0)}
    assert [d.answer for d in opened.check([changed, encoded(changed)])] == ["pass", "pass"]


def test_no_threshold_of_an_audit_is_as_high_as_copies_score(
    audited: Audited, guard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control people whom the generator saw score like copies, and copies would pass."""
    result, path = audited
    shutil.copytree(guard, tmp_path / "guard")
    before = {file.name: file.read_bytes() for file in guard.iterdir()}
    high = MitigationThreshold(1e6, "as high as control people")
    monkeypatch.setattr("unveil.mitigation.guard.guard_threshold", lambda result, rule: high)
    for rule in ("audit", "control", "fpr:0.05", "significant"):
        with pytest.raises(SettingError, match=rf"--threshold {rule}: .* refuses 0\.0% of them: copies would pass"):
            Guard.build(FinishedRun(path), tmp_path / "guard", threshold=rule)
    # The guard that was there stays.
    assert {file.name: file.read_bytes() for file in (tmp_path / "guard").iterdir()} == before
    monkeypatch.undo()
    figure = Estimate(0.1, 0.1, 0.1, 0.95, 100, "share")
    for name in ("control people in synthetic", "control images in synthetic"):
        failed = Check(name, "fail", figure, "some are close", ("none detected",))
        for rule in ("audit", "control", "fpr:0.05"):
            assert guard_threshold(result, rule)
            with pytest.raises(SettingError, match=f"failed check '{name}'"):
                guard_threshold(replace(result, input_checks=(failed,)), rule)
        assert guard_threshold(replace(result, input_checks=(failed,)), "4.5").score == 4.5


def test_control_people_who_score_like_copies_decide_no_threshold(audited: Audited) -> None:
    """A few of them raised it to the scores of copies: for a guard and for a cleaning."""
    result, _ = audited
    assert result.exposures is not None
    control = result.exposures.control.score
    for n in (1, 3, len(control) // 10):
        seen = control.copy()
        seen[:n] = np.linspace(20, 22, n)
        exposures = replace(result.exposures, control=replace(result.exposures.control, score=seen))
        mixed = replace(result, exposures=exposures)
        others = SimpleNamespace(training=exposures.training, control=SimpleNamespace(score=control[n:]))
        honest = replace(result, exposures=cast(Exposures, others))
        for rule in ("audit", "control", "fpr:0.05"):
            threshold, without = guard_threshold(mixed, rule), guard_threshold(honest, rule)
            assert threshold.score == without.score < 10
            assert threshold.why.startswith(without.why) and f"(without {n} control p" in threshold.why
        assert false_refusals(mixed, 10) == false_refusals(honest, 10)


def test_the_threshold_lies_below_the_findings(audited: Audited) -> None:
    """Where all findings are near-perfect copies, the lowest of their scores lets worse copies pass."""
    result, _ = audited
    low = [p.score for p in result.people if not p.significant_by]
    copied = tuple(replace(p, score=25.0) if p.significant_by else p for p in result.people)
    without = replace(result, people=copied, synthetic_identities=(), exposures=None)
    for rule in ("audit", "significant"):
        assert max(low) < guard_threshold(without, rule).score < max(low) + 1e-6
    assert guard_threshold(replace(without, exposures=result.exposures), "significant").score < max(low) + 1e-6
    assert mitigation_threshold(without).score == 25


def test_a_face_is_looked_for_in_images_of_another_size_than_the_crops(
    audited: Audited, guard: Path, world: World, tmp_path: Path
) -> None:
    """Whole photographs of training people passed as crops that are like nobody."""
    opened = Guard.open(guard, device="cpu")
    assert opened.alignment.sides == frozenset({96}) and not opened.alignment.warning
    file = sorted(world.training.rglob("*.png"))[0]
    pixels = decode_rgb(file.read_bytes())
    pixels[0, 0, 0] ^= 1
    whole = np.full((240, 240, 3), 128, np.uint8)
    nothing, crop = opened.check([whole, pixels])
    whole[20:116, 120:216] = pixels
    (found,) = opened.check([whole])
    assert (nothing.answer, crop.answer) == ("no face", "refuse") and "face" in nothing.why
    assert found.answer != "pass"

    run = FinishedRun(audited[1])
    many = {(n, n) for n in range(40, 60)}
    for sizes, sides in (({(96, 96), (80, 80)}, {96, 80}), ({(96, 80)}, None), (many, None)):
        folder = tmp_path / str(len(sizes))
        for size in sizes:
            write(folder / f"{size[0]}.png", encoded(np.zeros((*size, 3), np.uint8)))
        run._sources.update(dict.fromkeys(("synthetic", "training"), open_source(folder)))
        assert alignment_of(run).sides == sides


def test_share_of_training_images_refused(audited: Audited, world: World, tmp_path: Path) -> None:
    """The reported share is what `check` gives for the pixels of the training images."""
    run = FinishedRun(audited[1])
    built = Guard.build(run, tmp_path / "guard")
    opened = Guard.open(tmp_path / "guard", device="cpu")
    pixels = [decode_rgb((world.training / id).read_bytes()) for id in run.embedded("training").ids]
    decisions = opened.check(pixels)
    certain = [d for d in decisions if d.score is not None and abs(d.score - opened.threshold.score) > 0.05]
    assert {d.answer for d in decisions} == {"refuse"} and built.n_pixels == 150
    refused = sum(d.score >= opened.threshold.score for d in certain if d.score is not None)
    assert len(certain) >= 140
    assert refused <= round(built.training_refused.value * 150) <= refused + len(decisions) - len(certain)


def test_a_sample_of_many_training_images_is_measured(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FinishedRun(audited[1])
    training = run.embedded("training")
    state = run.state
    galleries = {name: np.asarray(training.through(name).vectors) for name in state.by_channel}
    none = np.zeros((150, 32), np.uint8)
    index = GuardIndex(state.by_channel, galleries, none, none, None)
    _, scores, _ = index.closest({name: training.through(name).vectors for name in state.by_channel})
    middle = float(np.median(scores))
    whole = training_refused(index, training, middle, np.random.default_rng(0))
    assert whole.value == (scores >= middle).mean() and whole.low == whole.high
    monkeypatch.setattr("unveil.mitigation.guard.MAX_MEASURED", 60)
    sample = training_refused(index, training, middle, np.random.default_rng(0))
    assert sample.n == 60 and sample.low < whole.value < sample.high and sample.level == 0.95


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60))
@examples(60)
def test_digests_are_found(seed: int, n: int) -> None:
    """Also those that share their first 8 bytes with others."""
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 2, (n, 32), dtype=np.uint8)
    digests[:, :8] = rng.integers(0, 3, (n, 1), dtype=np.uint8)
    digests[:, :31] *= rng.integers(0, 2, (n, 1), dtype=np.uint8)
    index = DigestIndex(digests)
    rows = [row.tobytes() for row in digests]
    for digest in [*rows, bytes(32), bytes([9]) * 32]:
        assert index.find(digest) == (rows.index(digest) if digest in rows else None)


@pytest.mark.parametrize("seed", range(5))
def test_best_against_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = unit_rows(rng, 40_000, 24).astype(np.float16)
    gallery[30_000] = gallery[5]  # a tie across blocks goes to the lower row
    vectors = np.vstack([unit_rows(rng, 6, 24), gallery[5:6].astype(np.float32)])
    offset = rng.normal(0, 0.05, len(gallery)).astype(np.float32)
    offset[30_000] = offset[5] = 0.5
    row, score = best_rows(vectors, gallery, offset)
    all_pairs = vectors.astype(np.float64) @ gallery.astype(np.float64).T + offset
    assert np.allclose(score, all_pairs.max(1), atol=1e-5) and row[-1] == 5
    assert np.allclose(all_pairs[np.arange(len(vectors)), row], all_pairs.max(1), atol=1e-5)


def test_views_are_images_like_others(guard: Path, world: World) -> None:
    """BGR put right and permuted CHW tensors are views of other memory."""
    file = sorted(world.synthetic.rglob("*.png"))[0]
    pixels = decode_rgb(file.read_bytes())
    opened = Guard.open(guard)
    views = [
        pixels,
        pixels[..., ::-1].copy()[..., ::-1],
        np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0),
    ]
    decisions = opened.check(views)
    assert len({d.row for d in decisions}) == 1 and len({d.score for d in decisions}) == 1


def test_documented_commands_from_a_users_folder(
    audited: Audited, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard below the current folder, by relative paths, and the same guard from elsewhere."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(audited[1], "run")
    shutil.copytree(world.synthetic, "syn")
    Guard.build(FinishedRun(Path("run")), Path("guard"))
    names = sorted(file.relative_to("syn") for file in Path("syn").rglob("*.png"))[:5]
    here = Guard.open("guard").check(["syn" / name for name in names])
    monkeypatch.chdir("/usr")
    there = Guard.open(tmp_path / "guard").check([tmp_path / "syn" / name for name in names])
    assert here == there


def test_threshold_and_false_refusals(audited: Audited) -> None:
    result, _ = audited
    threshold = audit_threshold(result)
    assert result.power is not None and result.power.lowest_score == pytest.approx(threshold.score)
    wrong = false_refusals(result, threshold.score)
    assert wrong is not None and wrong.low <= wrong.value <= wrong.high and wrong.high > 0
    everything = false_refusals(result, -1e9)
    assert everything is not None and everything.value == 1e6


def test_a_damaged_guard_says_so(guard: Path, tmp_path: Path, audited: Audited) -> None:
    with pytest.raises(StoreError, match="expected a guard"):
        Guard.open(tmp_path)
    copy = tmp_path / "guard"
    copy.mkdir()
    for file in guard.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "face.npy").write_bytes((copy / "face.npy").read_bytes()[:500])
    with pytest.raises(StoreError, match="damaged"):
        Guard.open(copy)
    write(tmp_path / "full/file", "x")
    with pytest.raises(SettingError, match="a new folder or a guard"):
        Guard.build(FinishedRun(audited[1]), tmp_path / "full")


def changed_guard(guard: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a guard whose `guard.json` is changed and sealed again, as somebody could who knows the format."""
    shutil.copytree(guard, copy)
    about = unsealed(json.loads((copy / "guard.json").read_text()))
    change(about)
    (copy / "guard.json").write_text(json.dumps(sealed(about)))
    return copy


@pytest.mark.parametrize(
    "name", ["face.npy", "face.cohort.npy", "face.correction.npy", "whitening.npy", "digests.npy", "pixels.npy"]
)
@pytest.mark.parametrize("fill", [0, 1])
def test_a_zeroed_guard_passes_nothing(guard: Path, tmp_path: Path, name: str, fill: int) -> None:
    copy = tmp_path / "guard"
    shutil.copytree(guard, copy)
    array = np.load(copy / name)
    np.save(copy / name, np.full_like(array, fill))
    with pytest.raises(StoreError, match=f"{name} is damaged or of another guard"):
        Guard.open(copy)
    if name in ("face.npy", "face.cohort.npy", "digests.npy") and fill == 0:
        # Also if its checksum is right.
        digest = file_sha256(copy / name)
        with pytest.raises(StoreError, match=r"no unit vectors|no digests"):
            Guard.open(changed_guard(copy, tmp_path / "sealed", lambda about: about["parts"].update({name: digest})))


def test_parts_of_two_guards_do_not_mix(guard: Path, audited: Audited, tmp_path: Path) -> None:
    run = FinishedRun(audited[1])
    Guard.build(run, tmp_path / "other", threshold="1e6")
    for name in ("guard.json", "face.correction.npy"):
        copy = tmp_path / f"mixed {name}"
        shutil.copytree(guard, copy)
        other = np.load(copy / "face.correction.npy") + 1
        if name == "guard.json":
            np.save(copy / "face.correction.npy", other)
            shutil.copy(tmp_path / "other" / name, copy / name)
        else:
            np.save(copy / name, other)
        with pytest.raises(StoreError, match="of another guard"):
            Guard.open(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(models=None),
        lambda about: about.update(models=[]),
        lambda about: about.update(models=["x"]),
        lambda about: about["models"][0].pop("model_id"),
        lambda about: about["models"][0].update(weight="much"),
        lambda about: about.update(aligned=None),
        lambda about: about.update(aligned="112,"),
        lambda about: about.update(scales={}),
        lambda about: about["scales"]["face"].update(spread=0),
        lambda about: about["scales"].pop("appearance"),
        lambda about: about["scales"]["face"].update(extra=1),
        lambda about: about["channels"].pop("device"),
        lambda about: about["models"][0].update(extra=1),
        lambda about: about["threshold"].update(score=None),
        lambda about: about.update(version=99),
        lambda about: about["parts"].pop("face.npy"),
        lambda about: about["parts"].pop("whitening.npy"),
        lambda about: about.update(channels={"models": 3}),
        lambda about: about.update(keys=[]),
        lambda about: about.update(ids=["one"]),
    ],
)
def test_a_guard_of_another_form_is_refused(guard: Path, tmp_path: Path, change: Any) -> None:
    with pytest.raises(StoreError, match="expected a guard"):
        Guard.open(changed_guard(guard, tmp_path / "guard", change))


def test_a_changed_guard_without_its_checksum_is_refused(guard: Path, tmp_path: Path) -> None:
    shutil.copytree(guard, tmp_path / "guard")
    file = tmp_path / "guard/guard.json"
    about = json.loads(file.read_text())
    about["threshold"]["score"] = 1e9
    file.write_text(json.dumps(about))
    with pytest.raises(StoreError, match="its checksum is wrong"):
        Guard.open(tmp_path / "guard")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StoreError, match="a regular file was expected"):
        Guard.open(tmp_path / "guard")


def test_a_guard_of_somebody_else_names_no_model_file(guard: Path, tmp_path: Path) -> None:
    about = json.loads((guard / "guard.json").read_text())
    copy = changed_guard(guard, tmp_path / "guard", lambda about: about["channels"].update(models=["/etc/hostname"]))
    with pytest.raises(ModelError, match="install the file with unveil models add"):
        Guard.open(copy)
    foreign = Guard.open(changed_guard(guard, tmp_path / "same", lambda about: about.pop("signature")))
    assert Guard.open(guard).own and not foreign.own
    assert about["parts"].keys() == {file.name for file in guard.iterdir()} - {"guard.json"}


def test_a_guard_needs_the_detector_of_its_audit_where_one_is_used(guard: Path, tmp_path: Path) -> None:
    def exchanged(about: dict[str, Any], aligned: str) -> None:
        about["keys"]["detector"], about["aligned"] = "another", aligned

    Guard.open(changed_guard(guard, tmp_path / "crops", lambda about: exchanged(about, "all")))
    copy = changed_guard(guard, tmp_path / "photographs", lambda about: exchanged(about, "none"))
    with pytest.raises(ModelError, match="the detector dlib: expected the file and the description of the audit"):
        Guard.open(copy)


def test_an_audit_of_embeddings_gives_no_guard(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for role in ("synthetic", "training"):
        np.savez(tmp_path / f"{role}.npz", vectors=unit_rows(rng, 60, 32))
    audit(tmp_path / "synthetic.npz", tmp_path / "training.npz", out=tmp_path / "run")
    with pytest.raises(SettingError, match="expected an audit of images"):
        Guard.build(FinishedRun(tmp_path / "run"), tmp_path / "guard")
    assert not (tmp_path / "guard").exists()


def test_what_is_no_list_of_images_is_said(guard: Path, world: World) -> None:
    file = min(world.training.rglob("*.png"))
    image = Image.open(file)
    pixels = np.array(image.convert("RGB"))
    opened = Guard.open(guard)
    by_path = opened.check([file])
    assert opened.check(iter([file])) == opened.check(one for one in [pixels]) == opened.check(pixels[None]) == by_path
    assert opened.check([image]) == opened.check([image.convert("RGBA")]) == by_path
    for one in (str(file), file, file.read_bytes(), image):
        with pytest.raises(InputError, match=r"\[image\]"):
            opened.check(one)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="channels last"):
        opened.check([pixels.transpose(2, 0, 1)])
    for wrong in (None, 3, [pixels], bytearray(b"x"), image.convert("F")):
        with pytest.raises(InputError, match="expected"):
            opened.check([wrong])  # type: ignore[list-item]


def test_without_the_training_images_files_alone_are_recognised(audited: Audited, tmp_path: Path) -> None:
    shutil.copytree(audited[1], tmp_path / "run")
    manifest = tmp_path / "run/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "signature": ""}))
    built = Guard.build(FinishedRun(tmp_path / "run"), tmp_path / "guard")
    assert built.n_pixels == 0 and not np.load(tmp_path / "guard/pixels.npy").any()
    assert Guard.open(tmp_path / "guard").check([np.zeros((96, 64, 3), np.uint8)])[0].answer == "no face"


def test_guard_on_the_command_line(audited: Audited, world: World, tmp_path: Path) -> None:
    built = command_line("guard", "build", audited[1], "-o", tmp_path / "guard")
    assert built.returncode == 0 and "150 training images" in built.stdout and "Of one million" in built.stdout
    assert "of 150 training images by their score" in built.stdout
    # Without --names no id of a training image is in it.
    assert b"person-0" not in b"".join(f.read_bytes() for f in (tmp_path / "guard").iterdir())
    write(tmp_path / "new/broken.png", "not an image")
    for i, face in enumerate(drawn_faces(5, 77)):
        write(tmp_path / f"new/{i}.png", encoded(face))
    write(tmp_path / "new/leak.png", min(world.training.rglob("*.png")).read_bytes())
    done = command_line("guard", "check", tmp_path / "guard", tmp_path / "new", "-o", tmp_path / "decisions.csv")
    assert done.returncode == 1 and "1 could not be checked" in done.stdout and "leak.png" in done.stdout
    with (tmp_path / "decisions.csv").open() as file:
        rows = {row["id"]: row["decision"] for row in csv.DictReader(file)}
    assert rows["leak.png"] == "refuse" and rows["broken.png"] == "no face" and len(rows) == 7
    done = command_line("guard", "check", tmp_path / "guard", tmp_path / "new/leak.png")
    assert done.returncode == 1 and "0 pass, 1 refused" in done.stdout and "leak.png: identical" in done.stdout
    (tmp_path / "new/leak.png").unlink()
    done = command_line("guard", "check", tmp_path / "guard", tmp_path / "new")
    assert done.returncode == 3 and "5 pass, 0 refused" in done.stdout and "have not passed" in done.stderr
    (tmp_path / "new/broken.png").unlink()
    assert command_line("guard", "check", tmp_path / "guard", tmp_path / "new").returncode == 0


def strangers_run(run: Path, place: Path) -> Path:
    """The run with other training vectors, as somebody else can make it: all checksums fit, and nobody signed it."""
    shutil.copytree(run, place)
    file = place / "manifest.json"
    manifest = json.loads(file.read_text())
    rng = np.random.default_rng(1)
    for array in (place / "stores").glob("training*.npy"):
        np.save(array, unit_rows(rng, *np.load(array).shape))
    manifest["parts"] = {name: file_sha256(place / name) for name in manifest["parts"]}
    del manifest["signature"]
    file.write_text(json.dumps(manifest))
    return place


def test_what_is_made_from_the_run_of_somebody_else_says_so(audited: Audited, world: World, tmp_path: Path) -> None:
    """A guard of it does not become this user's, whoever builds it."""
    run = strangers_run(audited[1], tmp_path / "run")
    said = "this user did not make the run"
    built = command_line("guard", "build", run, "-o", tmp_path / "guard", "--training", world.training)
    assert built.returncode == 0 and said in " ".join(built.stderr.split())
    assert not Guard.open(tmp_path / "guard").own
    checked = command_line("guard", "check", tmp_path / "guard", world.synthetic)
    assert "This user did not make the guard, or not the run that it is of" in checked.stdout
    photo = min(world.training.rglob("*.png"))
    shutil.copytree(audited[1], tmp_path / "own")
    for place, expected in ((run, True), (tmp_path / "own", False)):
        asked = command_line("lookup", photo, "--run", place)
        assert asked.returncode == 0 and (said in " ".join(asked.stderr.split())) == expected
        assert ("Somebody else made the audit behind this answer" in " ".join(asked.stdout.split())) == expected
        written = command_line("report", place, "-o", tmp_path / "report")
        assert written.returncode == 0 and (said in " ".join(written.stderr.split())) == expected
    cleaned = command_line("clean", run, "-o", tmp_path / "clean")
    assert said in " ".join(cleaned.stderr.split())


def test_what_others_see_of_an_image_of_pillow_is_refused_as_in_its_file(guard: Path) -> None:
    opened = Guard.open(guard)
    first, second = (Image.fromarray(face) for face in drawn_faces(2, 77))
    half = first.copy()
    half.putalpha(128)
    opaque = first.copy()
    opaque.putalpha(255)
    for form in ("GIF", "PNG", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        first.save(buffer, form, save_all=True, append_images=[second])
        (decision,) = opened.check([Image.open(buffer)])
        assert (decision.answer, decision.why.partition(" (")[0]) == ("no face", "several images in a file")
    passed, refused = opened.check([opaque, half])
    assert passed.answer == "pass" and refused.answer == "no face" and refused.why.startswith("transparent pixels")


def test_an_image_with_several_faces_does_not_pass(guard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was compared. What is refused stays refused."""
    opened = Guard.open(guard)
    images = list(drawn_faces(2, 77))
    first = opened.check(images)[0]
    embed = opened._embedder.embed_images

    def with_more(images: Any) -> Any:
        vectors, rows = embed(images)
        return vectors, tuple(replace(row, n_faces=2) for row in rows[:1]) + rows[1:]

    monkeypatch.setattr(opened._embedder, "embed_images", with_more)
    several, other = opened.check(images)
    assert (first.answer, several.answer, other.answer) == ("pass", "no face", "pass")
    assert several.why.startswith("several faces in the image") and several.score == first.score
    opened.threshold = replace(opened.threshold, score=-100.0)
    assert [d.answer for d in opened.check(images)] == ["refuse", "refuse"]


def test_every_remark_but_a_turn_is_refused() -> None:
    assert set(Remark) - {Remark.TURNED} == set(_HIDDEN)


def test_what_a_guard_did_not_look_at_is_said(guard: Path, tmp_path: Path) -> None:
    for i, face in enumerate(drawn_faces(2, 77)):
        write(tmp_path / f"new/{i}.png", encoded(face))
    with zipfile.ZipFile(tmp_path / "new/inner.zip", "w") as archive:
        archive.writestr("leak.png", encoded(drawn_faces(1, 78)[0]))
    done = command_line("guard", "check", guard, f"folder:{tmp_path / 'new'}")
    assert "2 pass, 0 refused" in done.stdout and "inner.zip" in done.stderr, done.stderr


def test_a_guard_below_the_current_folder(
    guard: Path, audited: Audited, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard and a finished run are opened by relative paths; neither builds the settings of an audit."""
    shutil.copytree(guard, tmp_path / "guard")
    write(tmp_path / "new/leak.png", min(world.training.rglob("*.png")).read_bytes())
    monkeypatch.chdir(tmp_path)

    def refuse(self: Settings) -> None:
        raise AssertionError("settings were built")

    monkeypatch.setattr(Settings, "__post_init__", refuse)
    assert [d.answer for d in Guard.open("guard").check([Path("new/leak.png")])] == ["refuse"]
    done = command_line("guard", "check", "guard", "new")
    assert done.returncode == 1 and "1 refused" in done.stdout, done.stderr
    assert FinishedRun(Path(os.path.relpath(audited[1]))).source("training").records
    wrong = command_line("guard", "check", "guard", "new", "--device", "gpu")
    assert wrong.returncode == 2 and "device: expected one of auto, cpu" in wrong.stderr


def test_a_person_who_is_in_both(audited: Audited, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    result, path = audited
    run = FinishedRun(path)
    exposed = result.significant_people[0]
    answer = lookup(run, [world.training / exposed.training_id])
    assert answer.training.answer == answer.synthetic.answer == "unusually close"
    assert answer.training.matches[0].id == exposed.training_id
    # The same pair, whose score is another here: the screen says why.
    match = next(m for m in answer.synthetic.matches if m.id == exposed.synthetic_id)
    assert match.highest < exposed.score
    text = letter(answer, result)
    print_lookup(answer, [exposed.training_id], result, text)
    assert "audit can score the same pair higher" in " ".join(capsys.readouterr().out.split())
    assert (
        "closer to your photograph than is usual" in text
        and "not proof" in text
        and "probably" not in text
        and "person-" not in text
        and ".png" not in text
    )


def test_a_file_of_a_set_is_read_as_the_audit_read_it(audited: Audited, world: World) -> None:
    """A face was looked for in crops that the audit took as they are: other vectors, and a lower score."""
    result, path = audited
    run = FinishedRun(path)
    exposed = result.significant_people[1]
    answer = lookup(run, [world.training / exposed.training_id])
    match = next(m for m in answer.synthetic.matches if m.id == exposed.synthetic_id)
    assert match.cosine == pytest.approx(exposed.channels[0].cosine, abs=1e-6)
    assert answer.training.matches[0].cosine == pytest.approx(1, abs=1e-6)


def test_every_channel_is_searched(audited: Audited, world: World) -> None:
    """A synthetic image that exposes a person by its appearance leads to that person."""
    result, path = audited
    by_appearance = next(p for p in result.significant_people if p.channel == "appearance")
    photo = world.synthetic / by_appearance.synthetic_id
    answer = lookup(FinishedRun(path), [photo])
    match = next(m for m in answer.training.matches if m.id == by_appearance.training_id)
    assert set(match.scores) == {"face", "appearance"} and match.scores["face"] == match.score
    assert match.scores["appearance"] == max(m.scores["appearance"] for m in answer.training.matches)
    done = command_line("lookup", photo, "--run", path)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("training set:") :]
    row = next(line for line in table.splitlines() if line.startswith(by_appearance.training_id))
    assert row.split()[1] == by_appearance.person and row.split()[-1] == "yes"
    highest = [m.highest for m in answer.training.matches]
    assert highest == sorted(highest, reverse=True)


def test_the_letter_never_contradicts_the_audit(audited: Audited, world: World) -> None:
    """Everybody whom the audit names is told so, in whichever channel, and others are not."""
    result, path = audited
    run = FinishedRun(path)
    channels = {p.channel: p for p in result.significant_people}
    assert set(channels) == {"face", "appearance"}
    for exposed in channels.values():
        text = letter(lookup(run, [world.training / exposed.training_id]), result)
        generated = next(part for part in text.split("\n\n") if part.startswith("The generated images."))
        assert "The audit found that one of them is unusually close" in generated and "None of them" not in generated
    copied = letter(lookup(run, [world.synthetic / channels["face"].synthetic_id]), result)
    assert "The audit found" in copied
    assert "The audit found" not in letter(lookup(run, [encoded(drawn_faces(1, 5)[0])]), result)


def test_what_the_audit_found_stands_beside_a_search_that_finds_nothing(audited: Audited) -> None:
    result, exposed = audited[0], audited[0].significant_people[0]
    nothing = Search("synthetic", (), Comparison(0.96, 384, 400, 1, 5.0), 520)
    close = Comparison(0.0025, 0, 400, 1, 5.0)
    training = Search("training", (LookupMatch(0, "1.png", exposed.person, 0.9, 9.0, {"face": 9.0}),), close, 400)
    text = letter(Answer(1, (), nothing, training), result)
    copied = "The generated image is identical, or nearly, to that person's image. This is a fact, not an estimate."
    said = "this person's image is among those closest to your photograph."
    assert f"{said} {copied} By your photograph alone" in text
    untested = replace(result, people=tuple(replace(p, significant_by=("GPD tail",)) for p in result.people))
    assert f"{said} By your photograph alone" in letter(Answer(1, (), nothing, training), untested)
    assert "None of them" not in text and "384 of 400 came as close" in text
    stranger = replace(training, compared=Comparison(0.4, 159, 400, 1, 10.0))
    assert "The audit" not in letter(Answer(1, (), nothing, stranger), result)
    near = Search("synthetic", (LookupMatch(0, exposed.synthetic_id, "x", 0.9, 9.0, {"face": 9.0}),), close, 520)
    assert "cannot show whether that person is you" in letter(Answer(1, (), near, stranger), result)


@pytest.mark.parametrize(
    ("compared", "rate"),
    [
        (Comparison(3 / 121, 0, 120, 3, 5.0), "About 1 in 40 people"),  # several photographs
        (Comparison(1 / 81, 0, 80, 1, 5.0), "About 1 in 81 people"),  # few control people
        (None, "how often it errs is not known"),
    ],
)
def test_no_search_calls_chance_what_the_audit_found(
    compared: Comparison | None, rate: str, audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither several photographs nor few control people nor none take the audit's finding away."""
    result, exposed = audited[0], audited[0].significant_people[0]
    scores = dict.fromkeys(result.channels, 99.0)
    pair = LookupMatch(0, "1.png", exposed.person, 0.9, 99.0, scores)
    other = LookupMatch(0, "2.png", "somebody", 0.9, 99.0, scores)
    generated = Search("synthetic", (replace(other, id="x.png"),), compared, 520)
    answer = Answer(3, (), generated, Search("training", (other, pair), compared, 400))
    text = letter(answer, result)
    assert "The audit found that one of them is unusually close to an image of a real person" in text
    assert "An image of the person of whom the audit found this is among those closest to your photographs." in text
    assert "happens by chance" not in text and "can be chance" not in text and "chance explains" not in text
    assert rate in text and "About 1 in 100" not in text
    assert compared is None or f"none of {compared.n_people} came as close" in text
    print_lookup(answer, ["a"], result, "")
    screen = " ".join(capsys.readouterr().out.split())
    assert f"lead to {exposed.person}, whom the audit found significant (by a training image)" in screen
    assert "rather close" not in screen and "not close" not in screen
    stranger = letter(replace(answer, training=Search("training", (other,), compared, 400)), result)
    assert "chance" not in stranger.partition("How certain")[0] or "too few to rule out chance" in stranger


def test_a_photograph_that_does_not_exist(audited: Audited, tmp_path: Path) -> None:
    missing = tmp_path / "folder/1.png"
    done = command_line("lookup", missing, "--run", audited[1])
    assert done.returncode == 2 and "no such file" in done.stderr and "folder" in done.stderr


def test_a_file_of_a_set_is_recognised_without_a_model(audited: Audited, world: World, tmp_path: Path) -> None:
    run = FinishedRun(audited[1])
    training, synthetic = min(world.training.rglob("*.png")), min(world.synthetic.iterdir())
    files = identical_files(run, [encoded(drawn_faces(1, 5)[0]), training, synthetic.read_bytes()])
    assert {(f.photo, f.role, f.id) for f in files} >= {
        (1, "training", training.relative_to(world.training).as_posix()),
        (2, "synthetic", synthetic.name),
    }
    assert all(f.photo for f in files)
    text = letter(lookup(run, [training]), audited[0])
    assert "A file you sent is among the images the generator was trained on, identical byte for byte." in text
    assert "identical byte for byte" not in letter(lookup(run, [encoded(drawn_faces(1, 5)[0])]), audited[0])


@pytest.mark.nightly
def test_people_in_no_set_rarely_get_a_small_p(audited: Audited) -> None:
    """p of people who are in no set is spread evenly: at most .01 in one of a hundred."""
    run = FinishedRun(audited[1])
    faces = [encoded(face) for face in drawn_faces(60, 123)]
    answers = [lookup(run, [face]) for face in faces]
    ps = np.array([[s.compared.p for s in (a.synthetic, a.training) if s.compared] for a in answers])
    # 30 of 60 expected below .5; outside of 16 and 44 once in 10,000 times, for either set.
    assert ((ps <= 0.5).sum(0) >= 16).all() and ((ps <= 0.5).sum(0) <= 44).all()
    # At most .01 in .6 of 60; more than 5 once in 10,000 times.
    assert ((ps <= 0.01).sum(0) <= 5).all()
    assert lookup(run, [faces[0]]) == lookup(run, [faces[0]])


def test_several_photographs_and_bad_ones(audited: Audited, world: World) -> None:
    run = FinishedRun(audited[1])
    exposed = audited[0].significant_people[0]
    photos: list[Path | bytes] = [world.training / exposed.training_id, encoded(drawn_faces(1, 5)[0]), b"no image"]
    answer = lookup(run, photos)
    assert answer.n_photos == 2 and [i for i, _ in answer.unusable] == [2]
    # Control people have one image each, so two photographs are two searches.
    alone = lookup(run, photos[:1])
    assert alone.training.compared is not None and answer.training.compared is not None
    assert answer.training.compared.p == pytest.approx(2 * alone.training.compared.p)
    assert answer.training.compared.n_as_close == alone.training.compared.n_as_close == 0
    assert "none of" in letter(answer, audited[0]) and "for 2 tests" in letter(answer, audited[0])
    assert {m.photo for m in answer.training.matches} == {0, 1}
    assert answer.training.matches[0].photo == 0
    with pytest.raises(InputError, match="found none in 1"):
        lookup(run, [b"no image"])
    with pytest.raises(InputError, match="at least one"):
        lookup(run, [])


def test_a_photograph_with_several_faces_answers_for_nobody(
    audited: Audited, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The face that is compared may be that of somebody beside the person who asks."""
    run = FinishedRun(audited[1])
    exposed = audited[0].significant_people[0]
    photos: list[Path | bytes] = [encoded(drawn_faces(1, 5)[0]), world.training / exposed.training_id]
    alone = lookup(run, photos[1:])
    embed = AuditEmbedder.embed_images

    def with_more(self: AuditEmbedder, images: Any) -> Any:
        vectors, rows = embed(self, images)
        return vectors, tuple(replace(row, n_faces=2) for row in rows[:1]) + rows[1:]

    monkeypatch.setattr(AuditEmbedder, "embed_images", with_more)
    answer = lookup(run, photos)
    assert [(i, why.partition(";")[0]) for i, why in answer.unusable] == [(0, "several faces")]
    assert answer.n_photos == 1 and {m.photo for m in answer.training.matches} == {1}
    assert answer.training.compared == alone.training.compared
    with pytest.raises(InputError, match=r"expected a photograph with one face, found none in 1 .*several faces"):
        lookup(run, photos[:1])


def test_lookup_leaves_nothing_behind(audited: Audited, world: World, tmp_path: Path) -> None:
    run = audited[1]
    before = {f: f.stat().st_mtime_ns for f in run.rglob("*")}
    photo = write(tmp_path / "me.png", min(world.training.rglob("*.png")).read_bytes())
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    words = [sys.executable, "-m", "unveil", "lookup", str(photo), "--run", str(run)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=True, env=environment, cwd=tmp_path / "tmp"
    )
    assert done.stdout.startswith("me.png is a training image, byte for byte: person-")
    assert "training set: unusually close (p" in done.stdout and "For the person who asked" in done.stdout
    assert {f: f.stat().st_mtime_ns for f in run.rglob("*")} == before
    assert not list((tmp_path / "tmp").rglob("*")) and sorted(f.name for f in tmp_path.iterdir()) == [
        "home",
        "me.png",
        "tmp",
    ]
    subprocess.run([*words, "-o", str(tmp_path / "answer.txt")], check=True, capture_output=True, env=environment)
    assert (tmp_path / "answer.txt").read_text().startswith("We compared 1 photograph of you")


def test_without_a_control_set_nothing_is_promised(world: World, store: Path, tmp_path: Path) -> None:
    result = unveil.audit(world.synthetic, world.training, out=tmp_path / "run", store=store, planted_leaks="off")
    answer = lookup(FinishedRun(tmp_path / "run"), [min(world.training.rglob("*.png"))])
    assert answer.training.compared is None and answer.synthetic.answer == "not known"
    assert "had no such people" in letter(answer, result)


def test_scores_of_decisions_are_numbers(tmp_path: Path) -> None:
    """A negative one is no formula."""
    decisions = [
        ("-1.png", Decision("pass", -0.42711649, 3, "face", None)),
        ("b", Decision("no face", None, None, None, None)),
    ]
    write_decisions(tmp_path / "decisions.csv", decisions)
    rows = (tmp_path / "decisions.csv").read_text().splitlines()
    assert rows[1:] == ["'-1.png,pass,-0.427116,face,3,,", "b,no face,,,,,"]
