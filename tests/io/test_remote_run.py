"""A run at an address: its local copy, and what is uploaded when."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from tests.builders import write
from unveil.errors import StoreError
from unveil.io import remote_run, storage
from unveil.io.remote_run import INDEX, RemoteRun, open_remote_run
from unveil.io.run_directory import AUDIT, MANIFEST

FINISHED = json.dumps({"format": AUDIT.mark, "status": "finished", "settings": {}})
RUNNING = json.dumps({"format": AUDIT.mark, "status": "running", "settings": {}})


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A finished run in fsspec's memory, of which there is a local copy."""
    monkeypatch.setenv("UNVEIL_CACHE", str(tmp_path / "cache"))
    address = f"memory://{tmp_path.name}/run"
    run = RemoteRun(address)
    run.pull()
    write(run.folder / "publish/report.md", "1")
    write(run.folder / MANIFEST, FINISHED)
    write(run.folder / "work/private", "2")
    assert run.push() == 2 and run.push() == 0
    return address


def remote(address: str, name: str) -> bytes:
    return bytes(fsspec.filesystem("memory").cat_file(f"{address.removeprefix('memory:/')}/{name}"))


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on, the local copies are those of another machine."""
    monkeypatch.setenv("UNVEIL_CACHE", str(folder))


def test_another_machine_gets_the_same_files(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RemoteRun(address).folder
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    second = RemoteRun(address)
    second.pull()
    assert second.folder != first and (second.folder / "publish/report.md").read_text() == "1"
    assert not (second.folder / "work").exists(), "checkpoints are of one machine alone"


def test_a_run_that_somebody_else_changed_is_not_overwritten(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RemoteRun(address)
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    second = RemoteRun(address)
    second.pull()
    write(second.folder / "publish/report.md", "changed")
    assert second.push() == 1
    write(first.folder / "publish/report.md", "changed otherwise")
    with pytest.raises(StoreError, match="somebody else has changed the run"):
        first.push()
    assert remote(address, "publish/report.md") == b"changed"


def test_a_command_that_succeeds_uploads_its_changes(address: str) -> None:
    with open_remote_run(address) as folder:
        write(folder / "report.html", "new")
    assert remote(address, "report.html") == b"new"
    with pytest.raises(SystemExit), open_remote_run(address) as folder:
        write(folder / "report.html", "newer")
        raise SystemExit(0)
    assert remote(address, "report.html") == b"newer"


@pytest.mark.parametrize("failure", [StoreError("no"), KeyboardInterrupt(), SystemExit(2), SystemExit("message")])
def test_a_command_that_fails_uploads_nothing(address: str, failure: BaseException) -> None:
    with pytest.raises(type(failure)), open_remote_run(address) as folder:
        write(folder / "publish/report.md", "half done")
        raise failure
    assert remote(address, "publish/report.md") == b"1"
    # The work is not lost: the next command finds it, and uploads it when it succeeds.
    with open_remote_run(address) as folder:
        assert (folder / "publish/report.md").read_text() == "half done"
    assert remote(address, "publish/report.md") == b"half done"


def test_a_file_changed_on_both_sides_is_a_message(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = RemoteRun(address).folder
    write(here / "publish/report.md", "mine")
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    with open_remote_run(address) as folder:
        write(folder / "publish/report.md", "theirs")
    elsewhere(monkeypatch, tmp_path / "cache")
    with pytest.raises(StoreError, match="changed here"), open_remote_run(address):
        raise AssertionError("the run should not open")
    assert (here / "publish/report.md").read_text() == "mine"
    (here / "publish/report.md").rename(tmp_path / "mine.txt")
    with open_remote_run(address) as folder:
        assert (folder / "publish/report.md").read_text() == "theirs"


def test_an_interrupted_audit_does_not_hide_the_finished_run(address: str) -> None:
    folder = RemoteRun(address).folder
    write(folder / MANIFEST, RUNNING)
    write(folder / "publish/report.md", "unfinished")
    with open_remote_run(address) as opened:
        assert (opened / MANIFEST).read_text() == FINISHED and (opened / "publish/report.md").read_text() == "1"
    assert remote(address, MANIFEST) == FINISHED.encode()


def test_no_more_is_downloaded_than_the_limit(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of all files together. A larger file is not begun."""
    size = len(FINISHED)
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    monkeypatch.setattr(remote_run, "download_limit", lambda: size)
    with pytest.raises(StoreError, match=rf"expected at most {size - 1} bytes, found {size}\. Set UNVEIL_CACHE_GB"):
        RemoteRun(address).pull()
    assert not (RemoteRun(address).folder / MANIFEST).exists()
    monkeypatch.setattr(remote_run, "download_limit", lambda: size + 1)
    RemoteRun(address).pull()


@pytest.mark.parametrize("name", [MANIFEST, "publish/report.md"])
def test_another_file_than_the_index_states_is_not_stored(
    name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").pipe_file(f"{address.removeprefix('memory:/')}/{name}", b"another")
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    run = RemoteRun(address)
    with pytest.raises(StoreError, match=f"{name}: expected the file with the SHA-256 .* that the index states"):
        run.pull()
    assert not (run.folder / name).exists()


def test_an_interrupted_upload_begins_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RemoteRun(address)
    write(run.folder / MANIFEST, FINISHED.replace("{}", '{"seed": 1}'))
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(RemoteRun, "_write_index", interrupted)
        run.push()
    assert RemoteRun(address).push() == 1 and RemoteRun(address).push() == 0


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_is_downloaded_in_parts(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, tmp_path / "elsewhere")
    monkeypatch.setattr(storage, "PART_BYTES", 7)
    run = RemoteRun(address)
    run.pull()
    assert (run.folder / MANIFEST).read_text() == FINISHED


def test_a_forged_or_damaged_index_is_a_message(address: str, tmp_path: Path) -> None:
    files, path = fsspec.filesystem("memory"), f"{address.removeprefix('memory:/')}/{INDEX}"
    index = json.loads(files.cat_file(path))
    files.pipe_file(path, json.dumps(index).encode())
    for name in (
        "../../escaped",
        "escaped",
        "review.sqlite/escaped",
        ".",
        "",
        "stores/\0.npy",
        f"stores/{'e' * 300}.npy",
    ):
        files.pipe_file(path, json.dumps({**index, name: "0" * 64}).encode())
        with pytest.raises(StoreError, match=r"expected the names of at most 5,000 files of a run, found \""):
            RemoteRun(address)
    assert not list(tmp_path.rglob("escaped"))
    files.pipe_file(path, json.dumps({f"stores/training.{i}.npy": "0" * 64 for i in range(5_001)}).encode())
    with pytest.raises(StoreError, match="found 5,001 names"):
        RemoteRun(address)
    files.pipe_file(path, b"[]")
    with pytest.raises(StoreError, match="damaged"):
        RemoteRun(address)
