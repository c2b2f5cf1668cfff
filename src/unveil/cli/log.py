"""What a run does, as lines of JSON for other programs."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console

from unveil.errors import SettingError, UnveilError
from unveil.io.remote import without_secrets
from unveil.progress import Progress, WholeRun

EVERY_SECONDS = 5.0


class _Handler(logging.Handler):
    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.INFO)
        self._write_record = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write_record(record)


@contextlib.contextmanager
def messages_to(write: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Passes every message of the library to ``write`` for the time of a block."""
    logger, handler = logging.getLogger("unveil"), _Handler(write)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def print_message(record: logging.LogRecord) -> None:
    """Prints a message on standard error, above a progress bar if there is one."""
    Console(stderr=True, highlight=False).print(record.getMessage(), markup=False, style="dim", soft_wrap=True)


class Logged:
    """Listens beside another, and writes an event a line: when, which, and its fields. ``-`` is standard error.

    Names of files and people stand in it where they stand in what is said on the terminal. Raises SettingError for a
    file that cannot be written.
    """

    def __init__(self, beside: Progress, file: str) -> None:
        self._beside, self._whole = beside, WholeRun()
        self._stage: dict[str, Any] = {}
        self._done, self._told_at, self._crew = 0, 0.0, (0, 0)
        self._messages = messages_to(self._message)
        try:
            self._file: IO[str] = sys.stderr if file == "-" else Path(file).open("a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise SettingError(f"--log {file}: {error.strerror}") from None

    def expect(self, units: Mapping[str, int]) -> None:
        self._beside.expect(units)
        self._whole.expect(units)
        self._write("expected", **units)

    def start(self, stage: str, total: int, unit: str) -> None:
        self._beside.start(stage, total, unit)
        self._progress()
        self._whole.start(unit)
        self._stage, self._done, self._told_at = {"stage": stage, "unit": unit, "total": total}, 0, time.monotonic()
        self._write("stage", **self._stage)

    def advance(self, n: int) -> None:
        self._beside.advance(n)
        self._whole.advance(n)
        self._done += n
        if time.monotonic() - self._told_at >= EVERY_SECONDS:
            self._progress()

    def workers(self, n: int, retries: int) -> None:
        self._beside.workers(n, retries)
        if (n, retries) != self._crew:
            self._crew = n, retries
            self._write("workers", workers=n, retries=retries)

    def _progress(self) -> None:
        if not self._stage:
            return
        self._told_at = time.monotonic()
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
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **fields}, ensure_ascii=True)
        print(without_secrets(line), file=self._file, flush=True)

    def _message(self, record: logging.LogRecord) -> None:
        self._write("message", level=record.levelname.lower(), text=record.getMessage())

    def __enter__(self) -> Logged:
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
            told = str(error) if isinstance(error, UnveilError) else ""
            self._write("ended", error=kind.__name__, text=told)
        if self._file is not sys.stderr:
            self._file.close()
