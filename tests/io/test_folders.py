"""One process works in a folder at a time, and only in a folder of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.builders import write
from unveil.errors import SettingError
from unveil.io.folders import exclusive, other_file, unchanged

SPAWN = multiprocessing.get_context("spawn")


def hold(folder: Path, told: Connection) -> None:
    """Works in the folder until the process is killed."""
    with exclusive(folder):
        told.send("working")
        signal.pause()


@pytest.mark.parametrize("name", ["new", "there"])
def test_the_second_process_ends_and_a_kill_frees_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    mine, told = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(tmp_path / name, told))
    process.start()
    assert mine.poll(60) and mine.recv() == "working"
    with (
        pytest.raises(SettingError, match=f"{name}: another unveil process works in this folder"),
        exclusive(tmp_path / name),
    ):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with exclusive(tmp_path / name):
        write(tmp_path / name / "file", "")
    assert (tmp_path / name / "file").exists()


def test_readers_share_a_folder_and_keep_writers_out(tmp_path: Path) -> None:
    with unchanged(tmp_path):
        with unchanged(tmp_path):
            pass
        with pytest.raises(SettingError, match="another unveil process works"), exclusive(tmp_path):
            pass
    with exclusive(tmp_path), pytest.raises(SettingError, match="another unveil process works"), unchanged(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), unchanged(tmp_path / "none"):
        pass


def test_a_folder_stays_only_if_something_was_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(ValueError, match="bad input"), exclusive(tmp_path / name):
            raise ValueError("bad input")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_files_of_others_are_named(tmp_path: Path) -> None:
    assert other_file(tmp_path / "absent", ("a",)) is None
    for name in ("a.npy", ".a.npy.x1.tmp", "b/inside.txt"):
        write(tmp_path / name, "")
    assert other_file(tmp_path, ("a.npy", "b")) is None
    assert other_file(tmp_path, ("*.npy",)) == "b"
    write(tmp_path / "thesis.txt", "")
    assert other_file(tmp_path, ("a.npy", "b")) == "thesis.txt"


def test_a_link_is_never_a_file_of_its_own(tmp_path: Path) -> None:
    """Otherwise a folder from somebody else could lead writing elsewhere."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/after-1").symlink_to(tmp_path)
    assert other_file(tmp_path / "folder", ("after-*",)) == "after-1"
