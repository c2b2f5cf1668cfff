"""Files that are written where a user says: nothing is replaced but an earlier file of the same kind, made by unveil.

Every output of a command and of the Python API that is one file passes `check_output_file` before any work is done.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from unveil.errors import SettingError
from unveil.io.regular import open_regular
from unveil.io.run_directory import MANIFEST, VERDICTS, is_run_file
from unveil.io.walk import real_path

# Of a file that exists, what shows its kind.
HEAD_BYTES = 4096
# What SQLite writes beside the verdicts.
BESIDE_VERDICTS = tuple(f"{VERDICTS}-{suffix}" for suffix in ("wal", "shm", "journal"))


@dataclass(frozen=True)
class OutputKind:
    """A kind of file that unveil writes: its name in messages, and whether an opened file is one of them."""

    name: str
    is_one: Callable[[BufferedReader], bool]


def beginning_with(start: str) -> Callable[[BufferedReader], bool]:
    """Whether a file begins with a text."""
    return lambda file: file.read(len(start.encode())) == start.encode()


def with_head(part: str) -> Callable[[BufferedReader], bool]:
    """Whether a text stands among the first bytes of a file."""
    return lambda file: part.encode() in file.read(HEAD_BYTES)


HTML_PAGE = OutputKind("a report of unveil", with_head("<title>unveil: "))


def check_output_file(option: str, place: str | Path, kind: OutputKind | None) -> None:
    """Raises SettingError for a folder, for a file that unveil did not write as this kind, and for a file of a run.

    An empty file counts as none. A link is refused, since it would be replaced. Without a ``kind``, nothing is
    replaced.
    """
    path = Path(place)
    check_in_no_run(option, path)
    try:
        status = path.lstat()
    except OSError:
        return  # none, or a folder that cannot be entered: writing says so
    if stat.S_ISLNK(status.st_mode):
        raise _other(option, path, kind, "a link")
    if stat.S_ISDIR(status.st_mode):
        raise SettingError(f"{option}: expected the name of a file, found a folder at {place}. Name a file in it")
    if status.st_size and (kind is None or not _is_one(path, kind)):
        raise _other(option, path, kind, "another file" if kind is not None else "a file")
    if not stat.S_ISREG(status.st_mode):
        raise _other(option, path, kind, "no regular file")


def check_log_file(option: str, place: str | Path, kind: OutputKind) -> None:
    """The same for a file that is appended to. Links are followed; a terminal or a pipe is written to."""
    path = Path(place)
    check_in_no_run(option, path)
    try:
        status = path.stat()
    except OSError:
        return
    if stat.S_ISREG(status.st_mode) and status.st_size and not _is_one(path, kind):
        raise _other(option, path, kind, "another file")


def check_in_no_run(option: str, place: str | Path) -> None:
    """Raises SettingError for the name of a file that belongs to the run in whose folder it lies."""
    path = real_path(place)
    for folder in path.parents:
        if not (folder / MANIFEST).is_file():
            continue
        name = path.relative_to(folder).as_posix()
        if is_run_file(name) or name in BESIDE_VERDICTS:
            raise SettingError(
                f"{option}: expected a file that is no part of a run, found {name} of the run in {folder}. Name another"
            )


def _is_one(path: Path, kind: OutputKind) -> bool:
    try:
        with open_regular(path) as file:
            return kind.is_one(file)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _other(option: str, path: Path, kind: OutputKind | None, found: str) -> SettingError:
    expected = "a new file" if kind is None else f"a new file or {kind.name}"
    return SettingError(
        f"{option}: expected {expected}, found {found} at {path}. It stays as it is: name another file, or move it away"
    )
