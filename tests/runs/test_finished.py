"""A finished run is opened from any folder, stays finished, and does not mix with another audit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import audit, unit_rows
from unveil.io.trust import signed
from unveil.runs.finished import FinishedRun

Audited = tuple[unveil.AuditResult, Path]


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's current folder, with embeddings of three sets: 20 of 60 training people leak."""
    rng = np.random.default_rng(3)
    training, control = unit_rows(rng, 60, 32), unit_rows(rng, 120, 32)
    sets = {"synthetic": np.concatenate([training[:20], unit_rows(rng, 40, 32)]), "training": training}
    (tmp_path / "data").mkdir()
    for role, vectors in {**sets, "control": control}.items():
        ids = np.array([f"{role}-{i}" for i in range(len(vectors))])
        np.savez(tmp_path / "data" / f"{role}.npz", vectors=vectors, ids=ids, people=ids, model=np.array("drawn"))
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path


def run_audit(**settings: Any) -> unveil.AuditResult:
    """An audit with relative paths only."""
    sources = (Path("synthetic.npz"), Path("training.npz"), Path("control.npz"))
    return audit(*sources, **{"out": "../run", "store": "../store", **settings})


def test_relative_paths_hold_from_another_folder(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_audit()
    (user_folder / "elsewhere").mkdir()
    monkeypatch.chdir(user_folder / "elsewhere")
    run = FinishedRun(Path("../run"))
    assert run.result == result and run.result.manifest["settings"]["synthetic"] == "synthetic.npz"
    assert set(run.sources()) == {"synthetic", "training", "control"}
    assert run.place("training") == str(user_folder / "data" / "training.npz")
    assert Path(run.store).resolve() == user_folder / "store"
    assert run.embedded("training").ids[0] == "training-0"


def test_the_current_folder_as_a_source(
    world: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--synthetic .` holds from another folder, also from the folder of the run."""
    monkeypatch.chdir(world.synthetic)
    audit(Path(), world.training, world.control, out=tmp_path / "run", store=store, planted_leaks="off")
    for folder in (tmp_path, tmp_path / "run", world.training):
        monkeypatch.chdir(folder)
        run = FinishedRun(tmp_path / "run")
        assert len(run.source("synthetic").records) == 140


def test_exposures_are_read_back(audited: Audited) -> None:
    result, path = audited
    found = FinishedRun(path).result
    assert found == result and found.exposures is not None and result.exposures is not None
    for read, made in (
        (found.exposures.training, result.exposures.training),
        (found.exposures.control, result.exposures.control),
    ):
        assert read.people == made.people
        for name in ("score", "cosine", "n_images", "best_pair", "channel"):
            assert np.array_equal(getattr(read, name), getattr(made, name)), name


def test_a_finished_run_stays_finished(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same audit again with an input that has changed, which fails: what was finished can still be opened."""
    result = run_audit()
    os.utime("synthetic.npz", (0, 0))
    manifest = (user_folder / "run/manifest.json").read_bytes()

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unveil.auditor.check_sets", fails)
    with pytest.raises(KeyboardInterrupt):
        run_audit()
    assert (user_folder / "run/manifest.json").read_bytes() == manifest
    assert FinishedRun(user_folder / "run").result == result


def test_opening_changes_nothing(audited: Audited) -> None:
    _, path = audited
    before = {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in path.rglob("*")}
    run = FinishedRun(path)
    assert run.pairs and run.images and run.state and all(len(run.embedded(role)) for role in run.roles)
    assert {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in path.rglob("*")} == before


PARTS = {
    "audit.json": lambda run: run.result,
    "exposures.parquet": lambda run: run.result,
    "pairs.parquet": lambda run: run.pairs,
    "images.parquet": lambda run: run.images,
    "matches.parquet": lambda run: run.table("matches.parquet"),
    "people.parquet": lambda run: run.table("people.parquet"),
    "stores/state.npz": lambda run: run.state,
    "stores/training.parquet": lambda run: run.embedded("training"),
    "stores/training.npy": lambda run: run.embedded("training"),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_different_audits_are_an_error(user_folder: Path, name: str) -> None:
    run_audit()
    rng = np.random.default_rng(8)
    with np.load("training.npz") as stored:
        arrays = dict(stored)
    arrays["vectors"] = unit_rows(rng, len(arrays["vectors"]), 32)
    np.savez("training.npz", allow_pickle=False, **arrays)
    run_audit(out="../other")
    shutil.copy(user_folder / "other" / name, user_folder / "run" / name)
    with pytest.raises(unveil.StoreError, match=f"{name} and the manifest of this run are of different audits"):
        PARTS[name](FinishedRun(user_folder / "run"))


@pytest.mark.parametrize("name", PARTS)
def test_damaged_parts_are_an_error(user_folder: Path, name: str) -> None:
    run_audit()
    whole = (user_folder / "run" / name).read_bytes()
    (user_folder / "run" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(unveil.StoreError, match=r"damaged"):
        PARTS[name](FinishedRun(user_folder / "run"))


def test_a_run_of_another_version_is_named(user_folder: Path) -> None:
    run_audit()
    for name, key in (("audit.json", "schema_version"), ("manifest.json", "version")):
        file = user_folder / "run" / name
        before = file.read_text()
        document = json.loads(before)
        del document[key]
        file.write_text(json.dumps(document))
        with pytest.raises(unveil.StoreError, match="another version of unveil; run the same audit again"):
            FinishedRun(user_folder / "run")
        file.write_text(before)
    assert FinishedRun(user_folder / "run").result.verdict == "leak found"


def test_an_own_run_of_an_earlier_vocabulary_is_an_error_that_names_the_value(user_folder: Path) -> None:
    """Values of an own run are not checked, unless another state of unveil wrote them: then a report would fail."""
    run = user_folder / "run"
    run_audit()
    manifest = json.loads((run / "manifest.json").read_text())
    document = json.loads((run / "audit.json").read_text())
    document["verdict"] = "leak seen"
    data = json.dumps(document).encode()
    (run / "audit.json").write_bytes(data)
    changed = {**manifest, "document": hashlib.sha256(data).hexdigest(), "schema": "0" * 64}
    (run / "manifest.json").write_text(json.dumps(signed(changed)))
    with pytest.raises(
        unveil.StoreError,
        match=r"audit\.json is damaged, or of another version of unveil \(verdict: expected one of .*, found "
        r'"leak seen"\); run the audit again',
    ):
        FinishedRun(run)
    del changed["schema"]
    (run / "manifest.json").write_text(json.dumps(signed(changed)))
    with pytest.raises(unveil.StoreError, match="expected one of"):
        FinishedRun(run)


def test_a_key_that_stands_twice_is_an_error(user_folder: Path) -> None:
    """Programs differ in the value that they take."""
    run = user_folder / "run"
    run_audit()
    file = run / "audit.json"
    file.write_text('{"verdict": "none detected", ' + file.read_text()[1:])
    with pytest.raises(unveil.StoreError, match="a key stands in it twice: verdict"):
        FinishedRun(run)
    manifest = run / "manifest.json"
    manifest.write_text('{"status": "running", ' + manifest.read_text()[1:])
    with pytest.raises(unveil.StoreError, match="holds no audit"):
        FinishedRun(run)


def test_every_byte_of_the_vectors_is_checked(user_folder: Path) -> None:
    run_audit()
    file = user_folder / "run/stores/training.npy"
    whole = file.read_bytes()
    for at in (200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(unveil.StoreError, match="different audits, or it is damaged"):
            FinishedRun(user_folder / "run").embedded("training")
