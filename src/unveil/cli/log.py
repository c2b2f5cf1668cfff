"""The progress and the messages of a run as lines of JSON, for other programs."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any

from unveil.cli.terminal import messages_to
from unveil.errors import SettingError, UnveilError
from unveil.io.output_file import OutputKind, beginning_with
from unveil.io.remote import without_secrets
from unveil.progress import Progress, WholeRun

SECONDS_BETWEEN = 5.0
# A line is an object that begins with its time.
LOG = OutputKind("a log of unveil", beginning_with('{"at": "'))


def _open_private(file: str) -> IO[str]:
    """A file to append to, which is made for its owner alone: messages can name files and people.

    Raises OSError, also for a pipe that nobody reads, which would block.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "a", encoding="utf-8")


class JsonLog:
    """Passes progress on to ``beside`` and writes one event per line: time, event, fields. ``-`` is standard error.

    Messages of the library become events ``message`` with their level and logger. They can name files and people, as on
    the terminal. Raises SettingError for a file that cannot be written.
    """

    def __init__(self, beside: Progress, file: str) -> None:
        self._beside, self._whole, self._lock = beside, WholeRun(), threading.Lock()
        self._name = "standard error" if file == "-" else file
        self._stage: dict[str, Any] = {}
        self._done, self._written_at, self._crew = 0, 0.0, (0, 0)
        self._messages = messages_to(self._message)
        try:
            self._file: IO[str] = sys.stderr if file == "-" else _open_private(file)
        except OSError as error:
            raise SettingError(
                f"--log: expected a file that can be written, found {file} ({error.strerror}). Name another file"
            ) from None

    def expect(self, units: Mapping[str, int]) -> None:
        self._beside.expect(units)
        self._whole.expect(units)
        self._write("expected", **units)

    def start(self, stage: str, total: int, unit: str) -> None:
        self._beside.start(stage, total, unit)
        self._progress()
        self._whole.start(unit)
        self._stage, self._done, self._written_at = {"stage": stage, "unit": unit, "total": total}, 0, time.monotonic()
        self._write("stage", **self._stage)

    def advance(self, n: int) -> None:
        self._beside.advance(n)
        self._whole.advance(n)
        self._done += n
        if time.monotonic() - self._written_at >= SECONDS_BETWEEN:
            self._progress()

    def workers(self, n: int, retries: int) -> None:
        self._beside.workers(n, retries)
        if (n, retries) != self._crew:
            self._crew = n, retries
            self._write("workers", workers=n, retries=retries)

    def _progress(self) -> None:
        if not self._stage:
            return
        self._written_at = time.monotonic()
        rate, left = self._whole.rate(self._stage["unit"]), self._whole.seconds_left()
        self._write(
            "progress",
            **self._stage,
            done=self._done,
            per_second=None if rate is None else round(rate, 1),
            seconds_left_of_all=None if left is None else round(left),
            workers=self._crew[0],
            retries=self._crew[1],
        )

    def _write(self, event: str, **fields: Any) -> None:
        """Writes one event. Secrets of the environment are replaced."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **fields}, ensure_ascii=True)
        with self._lock:
            try:
                print(without_secrets(line), file=self._file, flush=True)
            except OSError as error:
                error.filename = error.filename or self._name  # an open file names nothing
                raise

    def _message(self, record: logging.LogRecord) -> None:
        self._write("message", level=record.levelname.lower(), logger=record.name, text=record.getMessage())

    def __enter__(self) -> JsonLog:
        self._messages.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._messages.__exit__(kind, error, trace)
        self._progress()
        if kind is None:
            self._write("finished")
        else:
            self._write("ended", error=kind.__name__, text=str(error) if isinstance(error, UnveilError) else "")
        if self._file is not sys.stderr:
            self._file.close()
