"""Cleaning removes the smallest set that leaves no image at or above the threshold."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unveil
from tests.builders import SHARED, audit, encoded, examples, needs_real_data, save_embeddings, unit_rows, write
from tests.cli.runner import unveil as command_line
from unveil.config.settings import Settings
from unveil.demo.world import World
from unveil.engine import EngineOpener
from unveil.errors import ModelError, SettingError, SourceError
from unveil.images import decode_rgb, open_source
from unveil.io.folders import exclusive
from unveil.mitigation import Guard, clean, cleaning
from unveil.mitigation.cleaning import Cleaning, Round, at_or_above
from unveil.mitigation.threshold import mitigation_threshold
from unveil.progress import Progress, Silent
from unveil.results import AuditResult, ImageCopy
from unveil.review.images import ReviewImages
from unveil.runs.finished import FinishedRun
from unveil.stats.statements import Evidence
from unveil.types import Reject

Audited = tuple[unveil.AuditResult, Path]
LFW = SHARED / "lfw/lfw_aligned112.zip"
MOBILEFACENET = SHARED / "models/mobilefacenet/mobilefacenet_foamliu.onnx"


@given(
    pairs=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=8),
    identities=st.lists(st.sampled_from("abc"), min_size=8, max_size=8),
    threshold=st.integers(0, 5),
    whole=st.booleans(),
)
@examples(150)
def test_no_smaller_set_would_do(pairs: list[list[int]], identities: list[str], threshold: int, whole: bool) -> None:
    """Against every subset of images, or of identities, by hand."""
    scores = np.array(pairs, float)  # (images, training people)
    n, of = len(scores), identities[: len(scores)]
    gone = at_or_above(scores.max(1), of, threshold, whole=whole)
    units = sorted(set(of)) if whole else list(range(n))
    enough = []
    for size in range(len(units) + 1):
        for some in itertools.combinations(units, size):
            removed = np.array([(of[i] if whole else i) in some for i in range(n)])
            if not (scores[~removed] >= threshold).any():
                enough.append(removed)
    fewest = min(removed.sum() for removed in enough)
    assert gone.sum() == fewest and any((gone == removed).all() for removed in enough)


def test_nothing_is_made_from_a_run_that_another_process_changes(audited: Audited, tmp_path: Path) -> None:
    run = FinishedRun(audited[1])
    with exclusive(run.path):
        with pytest.raises(SettingError, match="another unveil process works in this folder"):
            clean(run, tmp_path / "clean")
        with pytest.raises(SettingError, match="another unveil process works in this folder"):
            Guard.build(run, tmp_path / "guard")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_among_the_images_of_a_run(audited: Audited, world: World, tmp_path: Path) -> None:
    run = FinishedRun(audited[1])
    with pytest.raises(SettingError, match="-o: expected a place outside the synthetic images"):
        clean(run, world.synthetic / "clean")
    with pytest.raises(SettingError, match="-o: expected a place outside the training images"):
        Guard.build(run, world.training / "guard")
    copy = ("--copy", str(world.synthetic / "copy"))
    done = command_line("clean", str(run.path), "-o", str(tmp_path / "clean"), *copy)
    assert done.returncode == 2 and "--copy: expected a place outside the synthetic images" in done.stderr
    assert not (world.synthetic / "copy").exists() and not (tmp_path / "clean").exists()


@pytest.mark.parametrize("trust", [False, True])
def test_the_rest_is_audited_with_embeddings_of_others_only_if_asked(
    trust: bool, audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stop(settings: Settings, progress: Progress, engine: EngineOpener | None) -> AuditResult:
        seen.append(settings.trust_store)
        raise SettingError("stopped")

    monkeypatch.setattr(cleaning, "run_audit", stop)
    with pytest.raises(SettingError, match="stopped"):
        unveil.load(audited[1]).clean(tmp_path / "clean", trust_store=trust)
    assert seen == [trust]


def test_the_rest_is_audited_by_the_models_of_the_audit_alone(
    audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of the run can be those of other files by now. Those of somebody else's run are not opened."""
    monkeypatch.setattr(cleaning, "run_audit", lambda *_, **__: pytest.fail("it was audited"))
    result, path = audited
    manifest: Any = result.manifest
    images = {role: {**facts, "aligned": "none"} for role, facts in manifest["inputs"].items()}
    other_detector: Any = {**manifest, "detector": {**manifest["detector"], "key": "other"}, "inputs": images}
    first, *rest = result.models
    other_model: Any = ({**first, "model_id": "other"}, *rest)
    others = replace(result, models=other_model), replace(result, manifest=other_detector)
    for other, changed in zip(others, ("the face model", "the detector"), strict=True):
        run = FinishedRun(path)
        monkeypatch.setattr(run, "result", other)
        with pytest.raises(ModelError, match=f"{changed}.* expected the file and the description of the audit"):
            clean(run, tmp_path / "clean")
    # Where nothing was detected, the detector changes nothing.
    crops = {role: {**facts, "aligned": "all"} for role, facts in manifest["inputs"].items()}
    run = FinishedRun(path)
    monkeypatch.setattr(run, "result", replace(result, manifest=other_detector | {"inputs": crops}))
    run.check_models(Silent())

    named: list[tuple[str | None, ...]] = []

    def stop(settings: Settings, progress: Progress, engine: EngineOpener | None) -> AuditResult:
        named.append(settings.model_names)
        raise SettingError("stopped")

    monkeypatch.setattr(cleaning, "run_audit", stop)
    run = FinishedRun(path)
    run.values["detector"] = "/somewhere/of/a/stranger.onnx"
    with pytest.raises(SettingError, match="stopped"):
        clean(run, tmp_path / "clean")
    config = run.channel_config
    assert named == [(config.detector, config.copy_model, *(m for m in config.models if m is not None))]


def test_a_label_link_is_not_removed_with_images(audited: Audited) -> None:
    result, path = audited

    def limitations(*evidence: Evidence) -> str:
        after = replace(result, verdict="leak found", evidence=evidence)
        rounds = (Round(mitigation_threshold(result), 1, after, path),)
        return " ".join(Cleaning(result, (), 1, 1, 0, 0, rounds).limitations)

    assert "permute the labels" in limitations("label link")
    assert "still finds a leak" not in limitations("label link")
    both = limitations("label link", "global test")
    assert "permute the labels" in both and "still finds a leak" in both
    assert "permute the labels" not in limitations("global test")


def test_a_rejected_file_that_is_a_copy_is_removed(audited: Audited) -> None:
    """It has no vector and no score: its bytes alone say what it is."""
    result, path = audited
    run, rejects = FinishedRun(path), {**result.rejects, "synthetic": (Reject("cut.jpg", "decode", "damaged"),)}
    copied = replace(result, rejects=rejects, copies=(ImageCopy("cut.jpg", "1.jpg", "a", "bytes"),))
    audited_again = cast(FinishedRun, SimpleNamespace(result=copied, images=run.images))
    everything = run.embedded("synthetic")
    assert cleaning._must_be_removed(audited_again, everything, set(), np.inf, False) == {"cut.jpg"}
    rounds = (Round(mitigation_threshold(result), 1, result, path),)
    for removed, said in ((("cut.jpg",), False), ((), True)):
        assert ("were rejected" in " ".join(Cleaning(copied, removed, 1, 1, 0, 0, rounds).limitations)) is said


def test_threshold_of_an_audit(audited: Audited) -> None:
    result, _ = audited
    significant = mitigation_threshold(result)
    assert significant.score == min(
        [p.score for p in result.significant_people] + [i.score for i in result.synthetic_identities if i.significant]
    )
    assert result.exposures is not None
    control = result.exposures.control.score
    assert mitigation_threshold(result, "control").score > control.max()
    assert (control >= mitigation_threshold(result, "fpr:0.05").score).sum() == int(0.05 * len(control))
    assert mitigation_threshold(result, "2.5").score == 2.5
    for wrong in ("nan", "high", "fpr:2", "fpr:0.00001"):
        with pytest.raises(SettingError, match="--threshold"):
            mitigation_threshold(result, wrong)
    nobody = replace(
        result,
        people=tuple(replace(p, significant_by=()) for p in result.people),
        synthetic_identities=(),
        copies=(),
        verdict="none detected",
    )
    with pytest.raises(SettingError, match="found none, so there is nothing"):
        mitigation_threshold(nobody)
    with pytest.raises(SettingError, match="found a leak of the whole set only"):
        mitigation_threshold(replace(nobody, verdict="leak found"))


def test_the_same_cleaning_from_another_folder(audited: Audited, tmp_path: Path) -> None:
    """The paths that it was given are other words for the same files. What is finished is not done again."""
    _, run = audited
    (tmp_path / "below").mkdir()
    leftover = write(tmp_path / "clean/.removed.txt.x1.tmp", b"of a killed process")
    finished = set()
    for folder, out in ((tmp_path, "clean"), (tmp_path / "below", "../clean")):
        done = command_line("clean", run, "-o", out, cwd=folder)
        assert done.returncode == 0, done.stderr
        finished.add(json.loads((tmp_path / "clean/after-1/manifest.json").read_text())["finished"])
    assert len(finished) == 1 and not leftover.exists()


def test_command_line_cleans_copies_and_audits_the_rest(
    audited: Audited, world: World, store: Path, tmp_path: Path
) -> None:
    result, run = audited
    done = command_line("clean", run, "-o", tmp_path / "clean", "--copy", tmp_path / "copy")
    assert done.returncode == 0
    summary = json.loads((tmp_path / "clean/clean.json").read_text())
    removed = (tmp_path / "clean/removed.txt").read_text().splitlines()
    remaining = (tmp_path / "clean/remaining.txt").read_text().splitlines()
    names = sorted(f.name for f in world.synthetic.iterdir())
    assert sorted(removed + remaining) == names and summary["n_removed"] == len(removed)
    assert f"{len(removed):,} of {len(names):,} synthetic images must be removed" in done.stdout
    assert "Limitations" in done.stdout and "leak found" in done.stdout
    # The image of every significant finding is removed, and only images at or above the threshold are.
    threshold = mitigation_threshold(result).score
    over = {p.id for p in FinishedRun(run).images if p.score >= threshold}
    assert {p.synthetic_id for p in result.significant_people} <= over <= set(removed)
    if len(summary["rounds"]) == 1:
        assert over == set(removed)
    assert (
        summary["rounds"][-1]["after"]["people_significant"]
        == summary["rounds"][-1]["after"]["identities_significant"]
        == 0
    )
    # An audit of the copy gives the result of the audit without the removed images.
    assert sorted(f.name for f in (tmp_path / "copy").iterdir()) == sorted(remaining)
    settings = {"out": tmp_path / "again", "store": store, "planted_leaks": "off"}
    again = audit(tmp_path / "copy", world.training, world.control, **settings)
    after = FinishedRun(tmp_path / "clean" / summary["rounds"][-1]["run"]).result
    assert again.people == after.people and again.synthetic_identities == after.synthetic_identities
    assert again.manifest["inputs"]["synthetic"]["sha256"] == after.manifest["inputs"]["synthetic"]["sha256"]


def test_images_that_changed_since_the_audit_are_neither_removed_nor_shown(
    audited: Audited, world: World, tmp_path: Path
) -> None:
    """A set that was made again has other images under the same names."""
    shutil.copytree(audited[1], tmp_path / "run")
    files = sorted(world.synthetic.iterdir())
    for file, other in zip(files, [*files[1:], files[0]], strict=True):
        write(tmp_path / "set" / file.name, other.read_bytes())
    run = FinishedRun(tmp_path / "run", {"synthetic": str(tmp_path / "set")})
    with pytest.raises(SourceError, match=r"found another set, in which .* is changed since the audit"):
        clean(run, tmp_path / "clean", threshold="control")
    assert not (tmp_path / "clean/removed.txt").exists()
    images = ReviewImages(run)
    pair = run.pairs[0]
    assert images.data(images.number("synthetic", pair.synthetic_id), face=False) is None
    assert images.data(images.number(pair.role, pair.real_id), face=False) is not None
    done = command_line("report", tmp_path / "run", "--synthetic", tmp_path / "set")
    assert done.returncode == 0 and "synthetic images are not shown: they changed since the audit" in done.stderr


def test_embeddings_are_cleaned_unless_they_changed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    training = unit_rows(rng, 200, 32)
    sets = {"synthetic": np.concatenate([training[:20], unit_rows(rng, 100, 32)]), "training": training}
    for role, vectors in (*sets.items(), ("control", unit_rows(rng, 200, 32))):
        ids = [f"{role} {i}" for i in range(len(vectors))]
        save_embeddings(tmp_path / f"{role}.npz", vectors, ids, ids)
    places = [tmp_path / f"{role}.npz" for role in ("synthetic", "training", "control")]
    unveil.audit(*places, out=tmp_path / "run", resamples=1)
    assert len(clean(FinishedRun(tmp_path / "run"), tmp_path / "clean", threshold="control").removed) >= 20
    save_embeddings(places[0], sets["synthetic"][::-1], [f"synthetic {i}" for i in range(120)], ["x"] * 120)
    with pytest.raises(SourceError, match="changed since the audit"):
        clean(FinishedRun(tmp_path / "run"), tmp_path / "again", threshold="control")


def test_duplicates_and_excluded_images(world: World, store: Path, tmp_path: Path, audited: Audited) -> None:
    """Duplicates are removed together. What the audit had excluded stays out of the lists and of the new audit."""
    synthetic = tmp_path / "synthetic"
    worst, next_worst = (p.synthetic_id for p in audited[0].significant_people[:2])
    for file in world.synthetic.iterdir():
        write(synthetic / file.name, file.read_bytes())
    write(synthetic / "again.png", (world.synthetic / worst).read_bytes())
    n = len(list(synthetic.iterdir()))
    excluded = write(tmp_path / "excluded.txt", f"{next_worst}\n")
    run = tmp_path / "run"
    audit(synthetic, world.training, world.control, out=run, store=store, planted_leaks="off", exclude=excluded)
    done = clean(FinishedRun(run), tmp_path / "clean")
    assert {worst, "again.png"} <= set(done.removed) and done.after.verdict != "inconclusive"
    assert done.excluded == (next_worst,) and next_worst not in done.removed
    removed, remaining = ((tmp_path / f"clean/{name}.txt").read_text().split() for name in ("removed", "remaining"))
    assert removed == [next_worst, *done.removed] and next_worst not in remaining and len(removed) + len(remaining) == n
    assert done.after.counts["synthetic"].images == n - 1 - len(done.removed) == len(remaining)


def test_lists_with_unknown_ids_are_refused(world: World, store: Path, tmp_path: Path) -> None:
    unknown = write(tmp_path / "list.txt", "nobody.png\n")
    with pytest.raises(unveil.SourceError, match="1 of its 1 lines are not images"):
        audit(world.synthetic, world.training, world.control, out=tmp_path / "run", store=store, exclude=unknown)


@pytest.mark.nightly
@needs_real_data
@pytest.mark.real
def test_planted_leaks_of_lfw_are_gone(tmp_path: Path) -> None:
    """60 people of LFW are planted, in part as another image, among 300 others' images; afterwards nobody is
    significant, and almost nothing was removed that was not planted."""
    source = open_source(LFW)
    by_person: dict[str, list[str]] = {}
    for record in source.records:
        by_person.setdefault(str(record.person), []).append(record.id)
    data = {record.id: record for record in source.records}
    rng = np.random.default_rng(5)
    several = rng.permutation([p for p, ids in by_person.items() if len(ids) >= 2])
    single = rng.permutation([p for p, ids in by_person.items() if len(ids) == 1])
    planted, training, control, fresh = several[:60], single[:240], single[240:740], single[740:1040]

    def put(role: str, person: str, id: str, name: str) -> None:
        write(tmp_path / role / name, source.read(data[id]))

    for person in planted:
        put("training", person, by_person[person][0], f"{person}/0.png")
    for role, people in (("training", training), ("control", control)):
        for person in people:
            put(role, person, by_person[person][0], f"{person}/0.png")
    for i, person in enumerate(fresh):
        put("synthetic", person, by_person[person][0], f"fresh-{i:04d}.png")
    for i, person in enumerate(planted):
        if i % 2:
            put("synthetic", person, by_person[person][1], f"planted-{i:04d}.png")
        else:
            pixels = decode_rgb(source.read(data[by_person[person][0]]))[:, ::-1].copy()
            write(tmp_path / f"synthetic/planted-{i:04d}.png", encoded(pixels, "JPEG", quality=60))
    roles = [tmp_path / role for role in ("synthetic", "training", "control")]
    before = audit(*roles, out=tmp_path / "run", model=MOBILEFACENET, planted_leaks="off", aligned="yes")
    run = FinishedRun(tmp_path / "run")
    done = clean(run, tmp_path / "clean")
    assert before.verdict == "leak found" and len(before.significant_people) >= 45
    assert not done.after.significant_people and not any(i.significant for i in done.after.synthetic_identities)
    gone = {id for id in done.removed if id.startswith("planted")}
    assert len(gone) >= 45 and len(done.removed) - len(gone) <= 6
    threshold = mitigation_threshold(before).score
    over = {p.id for p in run.images if p.score >= threshold}
    assert over <= set(done.removed) and (len(done.rounds) > 1 or over == set(done.removed))


@pytest.mark.parametrize("name", ["removed.txt", "remaining.txt"])
def test_a_list_of_the_user_stays(name: str, audited: Audited, tmp_path: Path) -> None:
    write(tmp_path / "lists" / name, "mine")
    with pytest.raises(SettingError, match=rf"expected a new folder or an earlier cleaning, found {name}"):
        clean(FinishedRun(audited[1]), tmp_path / "lists")
    assert (tmp_path / "lists" / name).read_text() == "mine"


def test_another_threshold_replaces_nothing_unless_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    training = unit_rows(rng, 120, 32)
    synthetic = np.concatenate([training[:20] + 0.2 * unit_rows(rng, 20, 32), unit_rows(rng, 60, 32)])
    result = unveil.audit(synthetic, training, unit_rows(rng, 150, 32), out=tmp_path / "run", planted_leaks="off")
    first = result.clean()
    folder = result.run / "clean"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SettingError, match=r"found one with threshold significant in .* or add --overwrite"):
        result.clean(threshold="control")
    with pytest.raises(SettingError, match="found one with threshold significant"):
        result.clean(whole_identities=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert result.clean().removed == first.removed  # the same cleaning is made again
    done = command_line("clean", result.run, "--threshold", "control", "--overwrite")
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "clean.json").read_text())
    assert summary["settings"] == {"threshold": "control", "whole_identities": False}
    assert len(summary["rounds"]) == 1 and [path.name for path in sorted(folder.glob("after-*"))] == ["after-1"]
    write(folder / "after-1" / "notes.txt", "mine")
    with pytest.raises(SettingError, match=r"nothing but a cleaning in .*, found after-1/notes\.txt"):
        result.clean(overwrite=True)
    assert (folder / "after-1" / "notes.txt").read_text() == "mine"
