"""Atomic files: a process killed at any moment leaves the old file or the new one, never a part of one."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import numpy.typing as npt

from unveil.errors import DiskFullError
from unveil.io.private import make_private

Rows = npt.NDArray[np.float32]
# Error numbers of a disk without space.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Temporary files and folders begin with a dot and end with this.
TEMPORARY = ".tmp"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces ``path`` when the block ends without an error.

    It is written under a temporary name, synchronised to disk and then renamed. Raises DiskFullError when the disk is
    full.
    """
    with explained_full_disk(path.parent), _replacing(path) as file:
        yield file


@contextlib.contextmanager
def explained_full_disk(folder: Path) -> Iterator[None]:
    """Raises DiskFullError with the name of ``folder`` where what is written into it in the block finds no space."""
    try:
        yield
    except OSError as error:
        # NumPy states no error number when it cannot write an array whole, nor do some libraries of containers.
        of_libraries = error.errno is None and any(part in str(error) for part in (" written", "No space left"))
        if error.errno not in DISK_FULL and not of_libraries:
            raise
        raise DiskFullError(
            f"{folder}: the disk is full. Free some space and run the same command again; finished work is stored"
        ) from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    make_private(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has a temporary name."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def remove_stale_temp(folder: Path, older_than: float = 0.0, *, of: Iterable[str] | None = None) -> None:
    """Removes temporary files and folders that a killed process left, if they are older than some seconds.

    With ``of``, only those of files with these paths in the folder, which may hold ``*``. What cannot be removed stays:
    a leftover is no reason to end a run.
    """
    limit = time.time() - older_than
    paths = None if of is None else [PurePosixPath(pattern) for pattern in of]
    patterns = [f"**/.*{TEMPORARY}"] if paths is None else [f"{p.parent}/.{p.name}.*{TEMPORARY}" for p in paths]
    for leftover in [path for pattern in patterns for path in folder.glob(pattern)]:
        with contextlib.suppress(OSError):
            if leftover.lstat().st_mtime > limit:
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data`` atomically. Raises DiskFullError when the disk is full."""
    with replacing(path) as file:
        file.write(data)


def gather_rows(
    vectors: Rows, rows: npt.NDArray[np.int64], *, max_bytes: int = 64 * 2**20, block_rows: int = 8192
) -> Rows:
    """``vectors[rows]`` of a matrix (N, D), in memory up to ``max_bytes`` and otherwise in a mapped temporary file.

    The temporary file has no name, is written ``block_rows`` rows at a time, and lies in the folder of the file that
    ``vectors`` are mapped from. Raises DiskFullError when the disk is full.
    """
    size = len(rows) * vectors.shape[1] * vectors.itemsize
    if size <= max_bytes:
        return np.asarray(vectors[rows])
    mapped = getattr(vectors, "filename", None)
    folder = Path(mapped).parent if mapped else Path(tempfile.gettempdir())
    with explained_full_disk(folder), tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, len(rows), block_rows):
            file.write(np.ascontiguousarray(vectors[rows[start : start + block_rows]]).tobytes())
        file.flush()
        return np.memmap(file, vectors.dtype, "r", shape=(len(rows), vectors.shape[1]))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text in which a spreadsheet takes no cell for a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_escaped(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _escaped(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
