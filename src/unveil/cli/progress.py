"""Progress on a terminal: stage, rate, time left. No bar without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from unveil.cli.exit_codes import INTERRUPTED
from unveil.cli.terminal import open_console
from unveil.progress import WholeRun


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

    Ctrl-C inside the block ends the command with exit code 130 and the sentence ``resume``.
    """

    def __init__(self, resume: str) -> None:
        self._resume = resume
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
            disable=not self._console.is_terminal,
        )
        self._task = (
            None if self._bar.disable else self._bar.add_task("starting", total=None, unit="", crew="", whole="")
        )
        self._crew, self._whole, self._shown_at = "", WholeRun(), 0.0

    def expect(self, units: Mapping[str, int]) -> None:
        self._whole.expect(units)

    def start(self, stage: str, total: int, unit: str) -> None:
        self._whole.start(unit)
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(stage, total=total, unit=unit, crew=self._crew, whole="")

    def advance(self, n: int) -> None:
        self._whole.advance(n)
        if self._task is not None:
            self._bar.advance(self._task, n)
            if time.monotonic() - self._shown_at >= 1:
                self._shown_at = time.monotonic()
                self._bar.update(self._task, whole=self._whole.summary())

    def workers(self, n: int, retries: int) -> None:
        text = f"{n} worker{'' if n == 1 else 's'}" + (f", {retries} retries" if retries else "")
        if self._task is not None and text != self._crew:
            self._crew = text
            self._bar.update(self._task, crew=text)

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            print(f"Interrupted. {self._resume}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED)
