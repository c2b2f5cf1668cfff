"""Atomic files, leftovers of killed writers, and rows gathered from a large file."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from unveil.errors import DiskFullError, StoreError
from unveil.io.atomic import csv_text, gather_rows, remove_stale_temp, replacing, write_bytes


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "new/file"
    write_bytes(file, b"old")
    with pytest.raises(ZeroDivisionError), replacing(file) as opened:
        opened.write(b"new")
        opened.write(b"%d" % (1 // 0))
    assert file.read_bytes() == b"old"
    assert [f.name for f in file.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_message(number: int, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the disk is full.*run the same command again"), replacing(tmp_path / "file"):
        raise OSError(number, "no space")
    with pytest.raises(OSError, match="other"), replacing(tmp_path / "file"):
        raise OSError(errno.EIO, "other")


def test_stale_temporary_files_and_folders_are_removed(tmp_path: Path) -> None:
    inside = tmp_path / "deep"
    for leftover in (inside / ".run.npy.x1.tmp", inside / ".folder.tmp/file", tmp_path / "outside/kept"):
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_bytes(b"1")
    (inside / "result.json").write_bytes(b"2")
    (inside / ".link.tmp").symlink_to(tmp_path / "outside")
    hour_ago = time.time() - 3600
    os.utime(inside / ".run.npy.x1.tmp", (hour_ago, hour_ago))

    remove_stale_temp(inside, older_than=1800)
    assert sorted(f.name for f in inside.iterdir()) == [".folder.tmp", ".link.tmp", "result.json"]
    remove_stale_temp(inside)
    assert [f.name for f in inside.iterdir()] == ["result.json"]
    assert (tmp_path / "outside/kept").exists(), "the target of a link is not a leftover"
    remove_stale_temp(tmp_path / "missing")


def test_temporary_files_of_others_stay(tmp_path: Path) -> None:
    names = (".a.txt.x1.tmp", ".b-1.txt.x1.tmp", "in/.c.md.x1.tmp", ".mine.txt.x1.tmp", "in/.a.txt.x1.tmp")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    remove_stale_temp(tmp_path, of=("a.txt", "b-*.txt", "in/c.md"))
    assert [name for name in names if (tmp_path / name).exists()] == [".mine.txt.x1.tmp", "in/.a.txt.x1.tmp"]


@pytest.mark.parametrize("max_bytes", [0, 1 << 20])
def test_gathered_rows_are_the_rows(max_bytes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(100, 5)).astype(np.float32)
    np.save(tmp_path / "v.npy", whole)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    rows = rng.integers(100, size=60)
    for vectors in (whole, mapped):
        assert np.array_equal(gather_rows(vectors, rows, max_bytes=max_bytes, block_rows=7), whole[rows])
    gathered = gather_rows(mapped, rows, max_bytes=max_bytes, block_rows=7)
    assert isinstance(gathered, np.memmap) == (max_bytes == 0)
    # The temporary file has no name, and its rows can be gathered again.
    assert [file.name for file in tmp_path.iterdir()] == ["v.npy"]
    again = gather_rows(gathered, np.arange(10), max_bytes=max_bytes, block_rows=7)
    assert np.array_equal(again, whole[rows[:10]])


def test_no_cell_of_a_csv_file_is_a_formula() -> None:
    assert csv_text([["=1+1", "-2", 3, "a,b"]]) == "'=1+1,'-2,3,\"a,b\"\n"


def test_an_array_that_does_not_fit_is_a_full_disk(tmp_path: Path) -> None:
    """NumPy raises an OSError without a number: seen with a limit on the size of files, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskFullError, match="the disk is full"), replacing(tmp_path / "a.npy") as file:
            np.save(file, np.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())
