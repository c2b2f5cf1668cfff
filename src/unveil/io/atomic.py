"""Writing files so that a kill at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from unveil.errors import StoreError

Rows = npt.NDArray[np.float32]
# Rows gathered from a file are held in memory up to so many bytes, and beyond are copied so many at a time.
HELD_BYTES, GATHER_ROWS = 64 * 2**20, 8192
# What a disk says that takes no more.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well: temporary, fsync, rename, fsync of the folder.

    Raises StoreError when the disk is full.
    """
    with _told_when_full(path.parent), _replacing(path) as file:
        yield file


@contextlib.contextmanager
def _told_when_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"{folder}: the disk is full; make room and run the same command again: what is finished is kept"
        ) from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
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


def remove_stale_temp(folder: Path, older_than: float = 0.0) -> None:
    """Removes temporary files that a killed writer left, if they are older than some seconds."""
    limit = time.time() - older_than
    for leftover in folder.rglob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime <= limit:
                leftover.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data`` at once."""
    with replacing(path) as file:
        file.write(data)


def gather_rows(vectors: Rows, rows: npt.NDArray[np.int64]) -> Rows:
    """``vectors[rows]`` of (N, D); what is large goes block by block into a file without a name, which is then mapped.

    It lies beside the file that ``vectors`` are mapped from. Raises StoreError when the disk is full.
    """
    size = len(rows) * vectors.shape[1] * vectors.itemsize
    if size <= HELD_BYTES:
        return np.asarray(vectors[rows])
    mapped = getattr(vectors, "filename", None)
    folder = Path(mapped).parent if mapped else Path(tempfile.gettempdir())
    with _told_when_full(folder), tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, len(rows), GATHER_ROWS):
            file.write(np.ascontiguousarray(vectors[rows[start : start + GATHER_ROWS]]).tobytes())
        file.flush()
        return np.memmap(file, vectors.dtype, "r", shape=(len(rows), vectors.shape[1]))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; no cell is a formula to a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
