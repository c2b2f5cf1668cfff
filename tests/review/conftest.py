from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import unveil
from tests.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def run(audited: tuple[unveil.AuditResult, Path], tmp_path: Path) -> Path:
    """A copy of the finished run, which the test may change."""
    return Path(shutil.copytree(audited[1], tmp_path / "run"))


class Served:
    """`unveil review` in a process."""

    def __init__(self, run: Path, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unveil", "review", str(run), *flags], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.output = line = ""
        while not line.strip().startswith("http://"):
            line = self.process.stdout.readline()
            assert line, f"unveil review ended: {self.output}"
            self.output += line
        self.address = line.strip()

    def stop(self) -> int:
        """Interrupts the process as Ctrl-C does, and returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Starts servers, and stops those that still run."""
    started: list[Served] = []

    def start(run: Path, *flags: str) -> Served:
        started.append(Served(run, *flags))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
