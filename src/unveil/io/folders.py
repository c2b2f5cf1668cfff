"""Folders that unveil writes to: who works in one, and whether it holds anything else."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from unveil.errors import SettingError
from unveil.io.atomic import is_temporary
from unveil.io.private import make_private


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes of unveil out of a folder, which is made if it does not exist.

    Raises SettingError if another process works in it or reads it. The lock ends with the process, however it ends.
    File systems without locks, such as some network drives, are not protected. Raises SettingError for a file, too.
    """
    is_new = not folder.exists()
    make_private(folder)
    try:
        with _locked(folder, fcntl.LOCK_EX):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # fails if anything was written


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Keeps processes of unveil that would change a folder out of it, while this one reads it; others may read it too.

    Raises SettingError if another process works in it, and OSError if there is no such folder.
    """
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    try:
        # A pipe would be opened only once somebody writes to it.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except NotADirectoryError:
        raise SettingError(f"{folder}: expected a folder, found a file. Name another folder") from None
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(
                f"{folder}: another unveil process works in this folder. Wait until it ends, or name another folder"
            ) from None
        except OSError:  # this file system has no locks
            pass
        yield
    finally:
        os.close(descriptor)


def other_file(folder: Path, own: Iterable[str]) -> str | None:
    """The name of a file or folder in ``folder`` that is none of ``own``, which may hold ``*``; None if there is none.

    Temporary files that a killed process left are its own. A link is not: it leads writing elsewhere.
    """
    patterns = tuple(own)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return next(
        (
            path.name
            for path in paths
            if path.is_symlink()
            or not (is_temporary(path) or any(fnmatchcase(path.name, pattern) for pattern in patterns))
        ),
        None,
    )
