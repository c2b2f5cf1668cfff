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

from unveil.errors import StoreError

# What a disk says that takes no more.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well: temporary, fsync, rename, fsync of the folder.

    Raises StoreError when the disk is full.
    """
    try:
        with _replacing(path) as file:
            yield file
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"{path.parent}: the disk is full; make room and run the same command again: what is finished is kept"
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


def sweep(folder: Path, older_than: float = 0.0) -> None:
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


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; no cell is a formula to a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
