"""The verdicts of a run in SQLite. Rows are only added: no acknowledged verdict is lost or changed."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from unveil.errors import DiskFullError, SettingError, StoreError
from unveil.io.checksums import document_sha256
from unveil.io.regular import check_stored, open_regular
from unveil.io.run_directory import MANIFEST, VERDICTS, read_manifest
from unveil.io.text import printable
from unveil.types import ROLES, Role

ReviewVerdict = Literal["same image", "same person", "different", "cannot tell"]
REVIEW_VERDICTS: tuple[ReviewVerdict, ...] = get_args(ReviewVerdict)
# A row that withdraws the reviewer's verdict on the pair. The withdrawn row stays in the file.
UNDONE = "undone"
# "unvl" marks our files, so that another program's database is refused.
APPLICATION, VERSION = 0x756E766C, 3
MAX_NAME = 60
# Somebody else's file may hold more; no review has.
MAX_REVIEWERS, MAX_ROWS = 1000, 10**7
JOURNAL = "-journal"
# Of a journal: the pages and the bytes a page of the file before the change (the same page of SQLite's documentation).
JOURNAL_PAGES, JOURNAL_PAGE_BYTES = slice(16, 20), slice(24, 28)
# The last bytes of a journal that names another file (https://www.sqlite.org/fileformat2.html#the_rollback_journal).
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
# Kinds of errors of a file that may be whole: the disk is read-only, or the file may not be opened.
CANNOT_BE_USED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM)

SCHEMA = f"""
CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  reviewer TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('training', 'control')),
  synthetic_id TEXT NOT NULL,
  real_id TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ({", ".join(f"'{v}'" for v in (*REVIEW_VERDICTS, UNDONE))})),
  blind INTEGER NOT NULL,
  time TEXT NOT NULL
);
CREATE TABLE audited (images TEXT NOT NULL);
CREATE INDEX of_reviewer ON verdicts (reviewer, id);
CREATE TRIGGER never_changed BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are only added'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are only added'); END;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

PairKey = tuple[str, str, Role]  # synthetic id, real id, role of the real image


@dataclass(frozen=True)
class RecordedVerdict:
    """One row: the verdict of a reviewer on a pair, whether the review was blind, and the time (ISO 8601, UTC)."""

    reviewer: str
    pair: PairKey
    verdict: str
    blind: bool
    time: str


class VerdictStore:
    """The verdicts of a run. Several threads may use it.

    Raises StoreError for a file that it did not write, and for verdicts on the images of another audit: they name
    images by their ids, which others may have.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / VERDICTS
        self._images = audited_images(run)
        self._lock = threading.Lock()
        self._check_files()
        if not self.path.exists():
            # Verdicts name people, so only the owner may read the file.
            self.path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute("PRAGMA busy_timeout = 10000")
            self._create()
            self._check_content()
            # A verdict is on disk before it is acknowledged.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            if _is_full(error):
                raise self._full() from None
            if _code(error) & 0xFF in CANNOT_BE_USED:
                raise self._unusable(error) from None
            raise self._refusal(f"a damaged file ({error})") from None

    def _full(self) -> DiskFullError:
        return DiskFullError(
            f"{self.path}: the disk is full. Free some space and give the verdict again; recorded verdicts are stored"
        )

    def _unusable(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"{self.path}: expected a file that can be read and written, found none ({error}). Check that the disk is "
            "not read-only and that the permissions are yours"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Keeps other threads out. Errors of SQLite become DiskFullError, or StoreError."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise (self._full() if _is_full(error) else self._unusable(error)) from None

    def _refusal(self, found: str) -> StoreError:
        return StoreError(f"{self.path}: expected verdicts of this version, found {found}. Move the file away")

    def _check_files(self) -> None:
        """Refuses what SQLite would wait for, or what would lead it to other files. Somebody else may have made it."""
        for suffix in ("", "-wal", "-shm", JOURNAL):
            file = Path(f"{self.path}{suffix}")
            if file.is_symlink():
                raise self._refusal("a link, through which verdicts would be written elsewhere")
            try:
                with open_regular(file) as opened:
                    status = os.fstat(opened.fileno())
                    check_stored(status, file)
                    head = opened.read(JOURNAL_PAGE_BYTES.stop)
                    opened.seek(-min(len(SUPER_JOURNAL), status.st_size), os.SEEK_END)
                    end = opened.read()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
                    continue  # SQLite refuses it, with advice on permissions
                raise self._refusal(f"no plain file at {file.name} ({error.strerror})") from None
            if status.st_nlink > 1:
                raise self._refusal(f"a hard link at {file.name}, through which another file would be written")
            # SQLite gives the file the size that a journal states. Verdicts are never removed, so it was not larger.
            before = int.from_bytes(head[JOURNAL_PAGES], "big") * int.from_bytes(head[JOURNAL_PAGE_BYTES], "big")
            if suffix == JOURNAL and before > self.path.stat().st_size:
                raise self._refusal("a journal that would make the file larger")
            # SQLite deletes the file that a journal names at its end. Verdicts are one file, whose journal names none.
            if suffix == JOURNAL and end == SUPER_JOURNAL:
                raise self._refusal("a journal that names another file, which would be deleted")

    def _check_content(self) -> None:
        """Refuses another schema, which can run queries of its own, and a file whose pages do not form one tree."""
        expected = sqlite3.connect(":memory:")
        expected.executescript(SCHEMA)
        schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name LIMIT 100"
        same = self._db.execute(schema).fetchall() == expected.execute(schema).fetchall()
        expected.close()
        if not same:
            raise self._refusal("another schema")
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._refusal(f"a damaged file ({printable(found)})")
        (n_rows,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        (n_reviewers,) = self._db.execute("SELECT count(DISTINCT reviewer) FROM verdicts").fetchone()
        if self._db.execute("SELECT images FROM audited LIMIT 2").fetchall() != [(self._images,)]:
            raise self._refusal("verdicts on the images of another audit")
        if not isinstance(n_rows, int) or n_rows > MAX_ROWS or n_reviewers > MAX_REVIEWERS:
            raise self._refusal(f"{n_rows} verdicts of {n_reviewers} reviewers, at most {MAX_ROWS} of {MAX_REVIEWERS}")

    def _create(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION, VERSION):
            return
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise self._refusal("a file of another program or version")
        try:
            # One transaction, because the process may be killed and because two processes may start at once.
            audited = f"INSERT INTO audited VALUES ('{self._images}');"  # noqa: S608 (hexadecimal digits)
            self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {audited} COMMIT;")
        except sqlite3.OperationalError:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if self._db.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                raise

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def add(self, reviewer: str, pair: PairKey, verdict: str, *, blind: bool) -> None:
        """Adds a verdict, or withdraws one with UNDONE. It is on disk when this returns.

        Raises SettingError for an unknown verdict or role and for a name that cannot be used, DiskFullError when the
        disk is full, and StoreError when the file can no longer be written to.
        """
        if verdict not in (*REVIEW_VERDICTS, UNDONE):
            raise SettingError(f"verdict: expected one of {', '.join(REVIEW_VERDICTS)}, found {verdict!r}")
        if pair[2] not in ROLES[1:]:
            raise SettingError(f"role of the real image: expected {' or '.join(ROLES[1:])}, found {pair[2]!r}")
        row = (checked_name(reviewer), pair[2], pair[0], pair[1], verdict, int(blind), datetime.now(UTC).isoformat())
        with self._explained():
            self._db.execute(
                "INSERT INTO verdicts (reviewer, role, synthetic_id, real_id, verdict, blind, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def history(self) -> list[RecordedVerdict]:
        """All rows, in the order in which they were added. Raises StoreError as `add`."""
        with self._explained():
            rows = self._db.execute(
                "SELECT reviewer, synthetic_id, real_id, role, verdict, blind, time FROM verdicts ORDER BY id"
            ).fetchall()
        if any(not isinstance(value, str) for r, s, t, role, v, _, time in rows for value in (r, s, t, role, v, time)):
            raise self._refusal("a verdict that is no text")
        if any(len(r) > MAX_NAME or printable(r) != r or printable(time) != time for r, *_, time in rows):
            raise self._refusal("a name of a reviewer or a time that this program does not write")
        return [RecordedVerdict(r, (s, t, role), v, bool(blind), time) for r, s, t, role, v, blind, time in rows]

    def current(self) -> dict[str, dict[PairKey, RecordedVerdict]]:
        """The last verdict of each reviewer on each pair, without withdrawn ones."""
        return current_verdicts(self.history())


def audited_images(run: Path) -> str:
    """A hash of the images of the audit in a folder, in hexadecimal digits, as its manifest states them."""
    inputs = (read_manifest(run / MANIFEST) or {}).get("inputs")
    stated = inputs if isinstance(inputs, dict) else {}
    return document_sha256({role: facts.get("sha256") for role, facts in stated.items() if isinstance(facts, dict)})


def _is_full(error: sqlite3.Error) -> bool:
    """Whether there is no space left. SQLite calls it an I/O error where it extends its shared memory, to read too."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _code(error: sqlite3.Error) -> int:
    """SQLite's number of an error; its last byte is the kind. 0 for an error of Python's module."""
    return getattr(error, "sqlite_errorcode", 0)


def current_verdicts(history: Iterable[RecordedVerdict]) -> dict[str, dict[PairKey, RecordedVerdict]]:
    """The last verdict of each reviewer on each pair in a history, without withdrawn ones."""
    last: dict[str, dict[PairKey, RecordedVerdict]] = {}
    for row in history:
        last.setdefault(row.reviewer, {})[row.pair] = row
    valid = {name: {pair: v for pair, v in own.items() if v.verdict != UNDONE} for name, own in last.items()}
    return {name: own for name, own in valid.items() if own}


def checked_name(reviewer: str) -> str:
    """The name of a reviewer with single spaces. Raises SettingError if it is empty, too long or not printable."""
    name = " ".join(reviewer.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise SettingError(f"name: expected 1 to {MAX_NAME} printable characters, found {reviewer!r}")
    return name
