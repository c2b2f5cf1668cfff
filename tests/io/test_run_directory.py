"""The run directory: what may be opened, and what opening changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import write
from unveil.errors import SettingError
from unveil.io.run_directory import AUDIT, FORMAT, MANIFEST, RunDirectory, is_finished, other_files, remove_run
from unveil.io.trust import SIGNATURE, StoreKey, is_own, signed

FACTS = {"seed": 1, "top_k": 10}


def test_a_run_from_begin_to_finish(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", FACTS)
    assert not run.path.exists(), "opening should change nothing"
    run.begin()
    write(run.scratch("x"), "1")
    assert not is_finished(run.path) and run.path.stat().st_mode & 0o777 == 0o700
    run.finish({"settings": FACTS})
    assert is_finished(run.path) and not run.scratch("x").parent.exists()


def test_opening_a_finished_run_leaves_it_finished(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run", FACTS)
    first.begin()
    first.finish({"settings": FACTS})
    again = RunDirectory(tmp_path / "run", FACTS)
    assert is_finished(tmp_path / "run") and again.seal == first.seal
    with pytest.raises(SettingError, match=r"other settings \(top_k: "):
        RunDirectory(tmp_path / "run", {**FACTS, "top_k": 3})
    assert is_finished(tmp_path / "run")


def test_a_killed_run_resumes_without_its_leftovers(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", FACTS).begin()
    for leftover in (".file.tmp", ".folder.tmp/file"):
        write(tmp_path / "run/stores" / leftover, "1")
    RunDirectory(tmp_path / "run", FACTS).begin()
    assert {file.name for file in (tmp_path / "run").rglob("*")} == {"stores", MANIFEST}


@pytest.mark.parametrize("signature", ["none", "changed", "another user"])
def test_an_audit_that_somebody_else_began_is_not_continued(
    signature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(tmp_path / "run", FACTS)
    run.begin()
    for name in ("work/unveil-comparing.npz", "stores/synthetic.npy", "people.parquet"):
        write(run.path / name, "1")
    RunDirectory(run.path, FACTS).begin()
    assert run.scratch("comparing.npz").exists() and not caplog.text  # one's own is
    manifest = json.loads((run.path / MANIFEST).read_text())
    if signature == "another user":
        monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "key"))
    else:
        del manifest["signature"]
        more = {} if signature == "none" else {"signature": "0" * 64}
        write(run.path / MANIFEST, json.dumps({**manifest, **more}))
    RunDirectory(run.path, FACTS).begin()
    assert "this user did not begin the audit there" in caplog.text
    assert {path.name for path in run.path.iterdir()} == {MANIFEST, "people.parquet"}
    assert is_own(json.loads((run.path / MANIFEST).read_text()))


@pytest.mark.parametrize("signature", ["é" * 64, "\ud800", "", "0", 5, None, [], {}])
def test_any_signature_of_somebody_else_is_no_signature(signature: object) -> None:
    document = signed({"a": 1})
    assert is_own(document) and not is_own({**document, SIGNATURE: signature})
    key = StoreKey.own()
    assert key.accepts(key.seal("name"), "name") and not key.accepts(signature, "name")


def test_a_finished_run_of_somebody_else_brings_no_checkpoints(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", FACTS)
    run.begin()
    run.finish({"settings": FACTS})
    manifest = json.loads((run.path / MANIFEST).read_text())
    write(run.path / MANIFEST, json.dumps({**manifest, "signature": "0" * 64}))
    for name in ("work/unveil-comparing.npz", "stores/synthetic.npy"):
        write(run.path / name, "1")
    RunDirectory(run.path, FACTS).begin()
    assert not run.scratch("comparing.npz").exists() and (run.path / "stores/synthetic.npy").exists()


@pytest.mark.parametrize("own", [True, False])
def test_files_of_the_user_in_the_folders_of_a_run_stay(own: bool, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", FACTS)
    run.begin()
    names = ("work/notes.npz", "stores/notes.txt", "stores/mine.npy")
    for name in (*names, "work/unveil-comparing.npz", "stores/synthetic.npy"):
        write(run.path / name, "1")
    assert other_files(run.path) == sorted(names)
    if not own:
        write(run.path / MANIFEST, json.dumps({**json.loads((run.path / MANIFEST).read_text()), "signature": "0"}))
    RunDirectory(run.path, FACTS).begin()
    assert (run.path / "stores/synthetic.npy").exists() == run.scratch("comparing.npz").exists() == own
    run.finish({"settings": FACTS})
    assert not run.scratch("comparing.npz").exists() and other_files(run.path) == sorted(names)


def test_what_a_killed_process_left_is_no_other_file(tmp_path: Path) -> None:
    """Otherwise a run that --overwrite removed, or that never began, could not be made again."""
    run = RunDirectory(tmp_path / "run", FACTS)
    run.begin()
    for name in (".report.html.abcd1234.tmp", "stores/synthetic.in-progress", "work/unveil-planted.in-progress"):
        write(run.path / name, "1")
    assert not other_files(run.path)
    remove_run(run.path)
    assert list(run.path.iterdir()) == []
    write(run.path / ".manifest.json.abcd1234.tmp", "1")
    RunDirectory(run.path, FACTS).begin()
    assert [path.name for path in run.path.iterdir()] == [MANIFEST]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "file", "1")
    write(tmp_path / "full/photo.jpg", "1")
    write(tmp_path / "foreign" / MANIFEST, json.dumps({"format": "other"}))
    later = {"format": AUDIT.mark, "version": FORMAT + 1, "status": "finished", "settings": FACTS}
    write(tmp_path / "later" / MANIFEST, json.dumps(later))
    for name, message in (
        *(("file", "is a file"), ("full", "holds other files"), ("foreign", "not the manifest")),
        ("later", "another version of unveil"),
    ):
        with pytest.raises(SettingError, match=message):
            RunDirectory(tmp_path / name, FACTS)
