"""A finished audit answers for the same audit, and is replaced only when asked."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import unit_rows, write
from unveil import auditor
from unveil.config.parsing import settings_from
from unveil.io.folders import exclusive
from unveil.review.verdicts import VerdictStore
from unveil.runs.inputs import CONTENT, OTHER_FILES, input_stamps
from unveil.runs.repeat import replace_run


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for role in ("synthetic", "training", "control"):
        np.save(tmp_path / f"{role}.npy", unit_rows(rng, 80, 16))
    roles = {role: tmp_path / f"{role}.npy" for role in ("synthetic", "training", "control")}
    return {**roles, "out": tmp_path / "run", "planted_leaks": "off"}


class ComputedError(Exception):
    """An audit was computed."""


@pytest.fixture
def first(inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> unveil.Audit:
    """The finished audit. From here on, computing one raises ComputedError."""
    result: unveil.Audit = unveil.audit(**inputs)

    def refuse(*_: object) -> None:
        raise ComputedError

    monkeypatch.setattr(auditor, "_run", refuse)
    return result


def test_the_second_of_two_audits_into_one_folder_ends(first: unveil.Audit, inputs: dict[str, Any]) -> None:
    before = {file: file.stat().st_mtime_ns for file in first.run.rglob("*")}
    with exclusive(first.run), pytest.raises(unveil.SettingError, match="another unveil process works in this folder"):
        unveil.audit(**inputs)
    assert {file: file.stat().st_mtime_ns for file in first.run.rglob("*")} == before
    assert unveil.audit(**inputs) == first


@pytest.mark.parametrize("verify", [False, True])
def test_nothing_is_computed_again(
    verify: bool, first: unveil.Audit, inputs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = {file: file.stat().st_mtime_ns for file in first.run.rglob("*")}
    with caplog.at_level(logging.INFO, "unveil"):
        if verify:  # embeddings have no hash of their images, so reading them cannot show that they are the same
            with pytest.raises(ComputedError):
                unveil.audit(**inputs, verify=True)
        else:
            assert unveil.audit(**inputs) == first
            assert "inputs have not changed" in caplog.text
    assert {file: file.stat().st_mtime_ns for file in first.run.rglob("*")} == before


SLOW = ("pandas", "scipy.special", "cv2", "unveil.auditor", "unveil.embedding.embed")


def test_a_finished_audit_answers_without_heavy_libraries(first: unveil.Audit, inputs: dict[str, Any]) -> None:
    """Importing pandas, SciPy's special functions and the stages of an audit takes longer than reading the result."""
    roles = [f"--{role}={inputs[role]}" for role in ("synthetic", "training", "control")]
    program = (
        "import sys; from unveil.cli.app import main; code = 0\n"
        "try: main()\nexcept SystemExit as ended: code = ended.code\n"
        f"print(code, [m for m in {SLOW} if m in sys.modules])"
    )
    arguments = ["audit", *roles, "-o", str(inputs["out"]), "--planted-leaks", "off"]
    shown = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert "inputs have not changed" in shown.stderr
    assert shown.stdout.splitlines()[-1] == "0 []"


def changed_input(inputs: dict[str, Any]) -> None:
    np.save(inputs["training"], unit_rows(np.random.default_rng(1), 80, 16))


def touched_input(inputs: dict[str, Any]) -> None:
    os.utime(inputs["control"])


def other_version(inputs: dict[str, Any]) -> None:
    rewrite(inputs, lambda manifest: manifest["versions"].update(unveil="0.1.0"))


def no_signature(inputs: dict[str, Any]) -> None:
    rewrite(inputs, lambda manifest: manifest.pop("signature"))


def damaged_result(inputs: dict[str, Any]) -> None:
    write(inputs["out"] / "audit.json", "{}")


def changed_result(inputs: dict[str, Any]) -> None:
    file = inputs["out"] / "audit.json"
    document = json.loads(file.read_text("utf-8"))
    write(file, json.dumps({**document, "headline": "Nobody is exposed.", "verdict": "none detected"}))
    with pytest.raises(unveil.StoreError, match="of different audits, or it is damaged"):
        unveil.load(inputs["out"])


def new_verdicts(inputs: dict[str, Any]) -> None:
    write(inputs["out"] / "review.sqlite", "")


def rewrite(inputs: dict[str, Any], change: Any) -> None:
    file = inputs["out"] / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    change(manifest)
    write(file, json.dumps(manifest))


@pytest.mark.parametrize(
    "change", [changed_input, touched_input, other_version, no_signature, damaged_result, changed_result, new_verdicts]
)
def test_it_is_computed_again_after(change: Any, first: unveil.Audit, inputs: dict[str, Any]) -> None:
    change(inputs)
    with pytest.raises(ComputedError):
        unveil.audit(**inputs)


def test_verdicts_on_other_images_do_not_count(first: unveil.Audit, inputs: dict[str, Any]) -> None:
    """They name images by their ids, which other images may have now."""
    store = VerdictStore(first.run)
    store.add("anna", ("a", "b", "training"), "different", blind=False)
    store.close()
    with pytest.raises(ComputedError):
        unveil.audit(**inputs)
    changed_input(inputs)
    with pytest.raises(unveil.SettingError, match=r"no verdicts of reviewers on other images in .*review\.sqlite"):
        unveil.audit(**inputs)
    (first.run / "review.sqlite").rename(first.run.parent / "old.sqlite")
    with pytest.raises(ComputedError):
        unveil.audit(**inputs)


def test_a_cleaning_of_the_earlier_audit_is_named(
    first: unveil.Audit, inputs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    write(first.run / "clean/clean.json", "{}")
    assert unveil.audit(**inputs) == first and "the cleaning in" not in caplog.text
    changed_input(inputs)
    with pytest.raises(ComputedError):
        unveil.audit(**inputs)
    assert "the cleaning in clean/clean.json is of the earlier audit" in caplog.text


def test_a_redacted_copy_is_made_when_it_is_missing(first: unveil.Audit, inputs: dict[str, Any]) -> None:
    with pytest.raises(ComputedError):
        unveil.audit(**inputs, redact=True)


def test_a_redacted_copy_is_never_that_of_another_result(inputs: dict[str, Any]) -> None:
    unveil.audit(**inputs, redact=True)
    changed_input(inputs)
    unveil.audit(**inputs)
    facts = [
        json.loads((inputs["out"] / name).read_text("utf-8"))["manifest"]["inputs"]["training"]["sha256"]
        for name in ("audit.json", "audit.redacted.json")
    ]
    assert facts[0] == facts[1]


def test_a_name_that_stands_for_another_model_is_another_input(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    for name in ("model", "detector", "copy_model"):
        settings = settings_from({**inputs, name: "ours"})
        write(tmp_path / "library/ours/ours.onnx", b"one")
        before = input_stamps(settings)
        assert input_stamps(settings) == before
        write(tmp_path / "library/ours/ours.onnx", b"another")
        assert input_stamps(settings) != before
        for description in ("ours.toml", "manifest.json"):
            before = input_stamps(settings)
            write(tmp_path / "library/ours" / description, name)
            after = input_stamps(settings)
            assert all(after[stamp] != before[stamp] for stamp in (OTHER_FILES, CONTENT))


def test_other_settings_are_named_and_overwrite(inputs: dict[str, Any]) -> None:
    unveil.audit(**inputs)
    run = inputs["out"]
    with pytest.raises(unveil.SettingError, match=r"fdr: 0\.05 there, 0\.1 now\).*--overwrite"):
        unveil.audit(**inputs, fdr=0.1)
    write(run / "notes.txt", "mine")
    with pytest.raises(unveil.SettingError, match=r"no part of an audit \(notes\.txt\)"):
        unveil.audit(**inputs, fdr=0.1, overwrite=True)
    (run / "notes.txt").unlink()
    write(run / "clean/removed.txt", "a")
    result = unveil.audit(**inputs, fdr=0.1, overwrite=True)
    assert result.manifest["settings"]["fdr"] == 0.1 and unveil.load(run) == result
    assert not (run / "clean").exists()


def test_overwrite_keeps_the_work_of_others(inputs: dict[str, Any], tmp_path: Path) -> None:
    unveil.audit(**inputs)
    write(inputs["out"] / "review.sqlite", "")
    with pytest.raises(unveil.SettingError, match="verdicts of reviewers"):
        unveil.audit(**inputs, fdr=0.1, overwrite=True)
    assert unveil.load(inputs["out"]).manifest["settings"]["fdr"] == 0.05
    write(tmp_path / "mine/thesis.txt", "text")
    with pytest.raises(unveil.SettingError, match="expected an audit"):
        unveil.audit(**{**inputs, "out": tmp_path / "mine"}, overwrite=True)
    assert (tmp_path / "mine/thesis.txt").exists()


@pytest.mark.parametrize(
    "name",
    [
        "set.parquet",
        "audit-notes.json",
        "report-final.html",
        "clean/notes.txt",
        "clean/after-1/mine.txt",
        "publish/a",
        "work/notes.txt",
    ],
)
def test_overwrite_removes_no_file_of_the_user(name: str, inputs: dict[str, Any]) -> None:
    unveil.audit(**inputs)
    write(inputs["out"] / name, "mine")
    with pytest.raises(unveil.SettingError, match="no part of an audit"):
        unveil.audit(**inputs, fdr=0.1, overwrite=True)
    assert (inputs["out"] / name).read_text() == "mine"
    assert unveil.load(inputs["out"]).manifest["settings"]["fdr"] == 0.05


@pytest.mark.parametrize("setting", ["exclude", "training", "store"])
def test_overwrite_removes_nothing_that_the_new_audit_needs(setting: str, inputs: dict[str, Any]) -> None:
    first = unveil.audit(**inputs)
    run = inputs["out"]
    write(run / "clean/removed.txt", "00000003\n")
    needed = {"exclude": run / "clean/removed.txt", "training": run / "stores/training.npy", "store": run / "work"}
    with pytest.raises(unveil.SettingError, match="would be removed before it is used"):
        unveil.audit(**{**inputs, setting: str(needed[setting])}, fdr=0.1, overwrite=True)
    assert (run / "clean/removed.txt").exists() and unveil.load(run) == first


def test_overwrite_removes_no_list_of_labels_that_the_new_audit_reads(inputs: dict[str, Any]) -> None:
    first = unveil.audit(**inputs)
    labels = write(inputs["out"] / "clean/removed.txt", "00000003\tanna\n")
    with pytest.raises(unveil.SettingError, match="would be removed before it is used"):
        replace_run(settings_from({**inputs, "labels": f"list:{labels}"}))
    assert labels.exists() and unveil.load(inputs["out"]) == first


def test_overwrite_removes_no_audit_for_one_that_cannot_be_made(inputs: dict[str, Any], tmp_path: Path) -> None:
    first = unveil.audit(**inputs)
    with pytest.raises(unveil.InputError):
        unveil.audit(**{**inputs, "training": tmp_path / "nowhere"}, overwrite=True)
    assert unveil.load(inputs["out"]) == first
