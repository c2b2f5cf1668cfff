"""Odd places: pipes, links to themselves, links to nothing, folders nested a thousand levels deep, and umasks."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.builders import audit, encoded, unit_rows, write
from unveil.cli.log import JsonLog
from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import open_source
from unveil.images.source import Source
from unveil.io.atomic import write_bytes
from unveil.io.checksums import file_sha256
from unveil.io.regular import open_regular, read_regular
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import LocalStorage
from unveil.io.walk import MAX_DEPTH, real_path, walk
from unveil.progress import Silent

IMAGE = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


def reasons(source: Source) -> dict[str, str]:
    """What becomes of each record: empty if it is read."""
    found = {}
    for record in source.records:
        try:
            found[record.id] = "" if source.read(record) else "empty"
        except ImageError as error:
            found[record.id] = str(error)
    return found


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (open_regular, file_sha256, lambda path: read_regular(path, 10)):
        with pytest.raises(OSError, match="a regular file was expected"):
            read(tmp_path / "pipe")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
    with pytest.raises(SourceError, match="a regular file was expected"):
        open_source(tmp_path / "pipe")
    write(tmp_path / "images/a.png", IMAGE)
    os.mkfifo(tmp_path / "images/b.png")
    assert reasons(open_source(tmp_path / "images")) == {
        "a.png": "",
        "b.png": "unreadable file: b.png: a regular file was expected",
    }


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = write(tmp_path / "file", b"123")
    assert read_regular(file, 3) == b"123"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_regular(file, 2)


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_to_itself_is_a_reject(follow: bool, tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", IMAGE)
    (tmp_path / "images/self.png").symlink_to("self.png")
    (tmp_path / "images/around").symlink_to(".")
    write(tmp_path / "list.txt", "images/a.png 1\nimages/self.png 2\n")
    for place in (tmp_path / "images", tmp_path / "list.txt"):
        found = reasons(open_source(place, follow_links=follow))
        assert sorted(reason == "" for reason in found.values())[-1] and len(found) <= 3
        assert all("symbolic links" in why for id, why in found.items() if id.endswith("self.png"))
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "images/self.png")
    assert real_path(tmp_path / "images/self.png").name == "self.png"


def test_outputs_through_a_link_to_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("self")
    for role in ("synthetic", "training"):
        np.savez(tmp_path / f"{role}.npz", vectors=unit_rows(np.random.default_rng(0), 40, 8))
    sets = tmp_path / "synthetic.npz", tmp_path / "training.npz"
    with pytest.raises(SettingError, match="-o: expected a folder, found a link to nothing"):
        audit(*sets, out=tmp_path / "self")
    with pytest.raises(SettingError, match="--store: expected a folder, found a link to nothing"):
        audit(*sets, out=tmp_path / "run", store=tmp_path / "self")


def test_a_thousand_levels_are_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "deep/here.png", IMAGE)
    monkeypatch.chdir(tmp_path / "deep")
    for _ in range(1500):
        os.mkdir("a")  # noqa: PTH102 (the whole path would be too long)
        os.chdir("a")
    os.chdir(tmp_path)
    try:
        found = reasons(open_source(tmp_path / "deep"))
        parents = [parent for parent, _, _ in walk(tmp_path / "deep")]
    finally:
        # Python cannot remove so deep a folder: pytest would fail to clean up.
        subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)
    assert found.pop("here.png") == "" and len(found) == 1
    assert all("unreadable file" in why for why in found.values())
    assert len(parents) == MAX_DEPTH + 1


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_what_may_name_people_is_private_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        RunDirectory(tmp_path / "run", {}).begin()
        LocalStorage(tmp_path / "store").write("ab/cd/file", b"1")
        write_bytes(tmp_path / "made/file", b"1")
        with JsonLog(Silent(), str(tmp_path / "log.jsonl")) as log:
            log.start("stage", 1, "images")
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path != tmp_path]
    assert len(made) >= 7
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        # A folder between two others is made with the mask; nothing in it can be read from outside.
        if path.is_file() or path.parent == tmp_path:
            assert not mode & 0o077, f"{path} {mode:o}"
