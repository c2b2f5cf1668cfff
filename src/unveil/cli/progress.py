"""Progress on a terminal: stage, rate, time left. Without a terminal, a line every half minute."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from unveil.cli.exit_codes import INTERRUPTED
from unveil.cli.terminal import open_console
from unveil.io.text import printable
from unveil.progress import WholeRun

# Without a terminal: at most that often, and after that time even if nothing is counted.
SECONDS_BETWEEN_LINES = 30.0
POLL_SECONDS = 1.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if speed >= size:
                return Text(f"{speed / size:.1f} {prefix} {task.fields['unit']}/s")
        return Text(f"{speed:.0f} {task.fields['unit']}/s")


class TerminalProgress:
    """Implements `unveil.progress.Progress` on standard error, for the time of a ``with`` block.

    Ctrl-C inside the block ends the command with exit code 130 and the sentence ``resume``. With ``quiet`` nothing is
    shown. ``clock`` returns seconds.
    """

    def __init__(self, resume: str, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._resume, self._quiet, self._clock = resume, quiet, clock
        self._console = open_console(error=True, wrap=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[whole]}", markup=False, style="dim"),
            TextColumn("{task.fields[crew]}", markup=False, style="dim"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = (
            None if self._bar.disable else self._bar.add_task("starting", total=None, unit="", crew="", whole="")
        )
        self._crew, self._whole, self._shown_at = "", WholeRun(), 0.0
        self._stage, self._done, self._line_at, self._lock = ("", 0, ""), 0, clock(), threading.Lock()
        self._ended = threading.Event()

    def expect(self, units: Mapping[str, int]) -> None:
        self._whole.expect(units)

    def start(self, stage: str, total: int, unit: str) -> None:
        self._whole.start(unit)
        with self._lock:
            self._stage, self._done = (stage, total, unit), 0
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(stage, total=total or None, unit=unit, crew=self._crew, whole="")

    def advance(self, n: int) -> None:
        self._whole.advance(n)
        with self._lock:
            self._done += n
            self._print_if_due()
        if self._task is not None:
            self._bar.advance(self._task, n)
            if time.monotonic() - self._shown_at >= 1:
                self._shown_at = time.monotonic()
                self._bar.update(self._task, whole=self._whole.summary())

    def _print_if_due(self) -> None:
        if self._task is None and not self._quiet and self._clock() - self._line_at >= SECONDS_BETWEEN_LINES:
            self._line_at = self._clock()
            print(self._line(), file=sys.stderr, flush=True)

    def _watch(self) -> None:
        """Prints a line when one is due though no unit is done: some stages count none."""
        while not self._ended.wait(POLL_SECONDS):
            with self._lock:
                self._print_if_due()

    def _line(self) -> str:
        """The stage, how far it is, and the time left of the run."""
        (stage, total, unit), whole = self._stage, self._whole.summary()
        done = f"{stage}: {self._done:,} of {total:,} {unit}" if unit else stage or "starting"
        return printable(done + (f"; {whole}" if whole else ""))

    def workers(self, n: int, retries: int) -> None:
        text = f"{n} worker{'' if n == 1 else 's'}" + (f", {retries} retries" if retries else "")
        if self._task is not None and text != self._crew:
            self._crew = text
            self._bar.update(self._task, crew=text)

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        if self._task is None and not self._quiet:
            threading.Thread(target=self._watch, name="unveil progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            print(f"Interrupted. {self._resume}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED)
