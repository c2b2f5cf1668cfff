"""Verdicts on disk: append-only rows in SQLite. What was said and acknowledged is never lost and never changed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from unveil.errors import SettingError, StoreError
from unveil.types import ROLES, Role

ReviewVerdict = Literal["same image", "same person", "different", "cannot tell"]
REVIEW_VERDICTS: tuple[ReviewVerdict, ...] = get_args(ReviewVerdict)
# Takes back the reviewer's verdict on the pair; it stays in the file, as everything does.
UNDONE = "undone"
FILE = "review.sqlite"
# "unvl", so that another program's file is never taken for ours.
APPLICATION, VERSION = 0x756E766C, 1
MAX_NAME = 60

SCHEMA = f"""
CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  reviewer TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('training', 'control')),
  synthetic_id TEXT NOT NULL,
  real_id TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ({", ".join(f"'{v}'" for v in (*REVIEW_VERDICTS, UNDONE))})),
  blind INTEGER NOT NULL,
  at TEXT NOT NULL
);
CREATE INDEX of_reviewer ON verdicts (reviewer, id);
CREATE TRIGGER never_changed BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are only added'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts are only added'); END;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

PairKey = tuple[str, str, Role]  # synthetic id, real id, role of the real image


@dataclass(frozen=True)
class RecordedVerdict:
    """One row: who said what of which pair, when, and whether scores were hidden."""

    reviewer: str
    pair: PairKey
    verdict: str
    blind: bool
    at: str


class VerdictStore:
    """The verdicts of a run; may be used from several threads. StoreError for a file that is none of ours."""

    def __init__(self, run: Path) -> None:
        self.path = run / FILE
        self._lock = threading.Lock()
        new = not self.path.exists()
        if new:
            # Verdicts name people: nobody else on this machine reads them.
            self.path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute("PRAGMA busy_timeout = 10000")
            self._create()
            # A verdict is on disk before it is acknowledged.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: not a file of verdicts ({error}); move it away") from None

    def _create(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION, VERSION):
            return
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise StoreError(f"{self.path}: a file of another program or version; move it away")
        try:
            # All of it or nothing, should this be the moment of a kill or should two begin at once.
            self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        except sqlite3.OperationalError:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if self._db.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
                raise

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def say(self, reviewer: str, pair: PairKey, verdict: str, *, blind: bool) -> None:
        """Adds a verdict, or takes one back with UNDONE; it is on disk when this returns.

        SettingError for a verdict or a name that cannot be.
        """
        if verdict not in (*REVIEW_VERDICTS, UNDONE):
            raise SettingError(f"a verdict should be one of {', '.join(REVIEW_VERDICTS)}, got {verdict!r}")
        if pair[2] not in ROLES[1:]:
            raise SettingError(f"a real image is of training or control, got {pair[2]!r}")
        row = (named(reviewer), pair[2], pair[0], pair[1], verdict, int(blind), datetime.now(UTC).isoformat())
        with self._lock:
            self._db.execute(
                "INSERT INTO verdicts (reviewer, role, synthetic_id, real_id, verdict, blind, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def history(self) -> list[RecordedVerdict]:
        """Everything that was ever said, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT reviewer, synthetic_id, real_id, role, verdict, blind, at FROM verdicts ORDER BY id"
            ).fetchall()
        return [RecordedVerdict(r, (s, t, role), v, bool(blind), at) for r, s, t, role, v, blind, at in rows]

    def standing(self) -> dict[str, dict[PairKey, RecordedVerdict]]:
        """Of each reviewer the last verdict on each pair, without those taken back."""
        return standing(self.history())


def standing(history: Iterable[RecordedVerdict]) -> dict[str, dict[PairKey, RecordedVerdict]]:
    """The verdicts of a history that count, by reviewer and pair."""
    last: dict[str, dict[PairKey, RecordedVerdict]] = {}
    for said in history:
        last.setdefault(said.reviewer, {})[said.pair] = said
    kept = {name: {p: s for p, s in pairs.items() if s.verdict != UNDONE} for name, pairs in last.items()}
    return {name: pairs for name, pairs in kept.items() if pairs}


def named(reviewer: str) -> str:
    """A reviewer's name, tidied; SettingError when it cannot be one."""
    name = " ".join(reviewer.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise SettingError(f"a reviewer's name should be 1 to {MAX_NAME} printable characters, got {reviewer!r}")
    return name
