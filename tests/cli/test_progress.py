"""How long a whole run takes, and what stands in its log."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import time
from pathlib import Path

import pytest

import unveil
from unveil.cli.log import JsonLog
from unveil.cli.progress import SECONDS_BETWEEN_LINES, TerminalProgress
from unveil.errors import SettingError, StoreError
from unveil.planning import Workload, expected_units
from unveil.progress import Silent, WholeRun, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_left_of_a_whole_run() -> None:
    clock = Clock()
    whole = WholeRun(clock)
    assert whole.seconds_left() is None and whole.summary() == ""
    whole.expect({"images": 100, "pairs": 1000})
    whole.start("images")
    assert whole.summary() == "images and pairs to come"
    clock.now = 10
    whole.advance(50)
    assert whole.rate("images") == 5 and whole.seconds_left() is None and whole.summary() == "pairs to come"
    clock.now = 20
    whole.advance(50)
    whole.start("pairs")
    clock.now = 25
    whole.advance(100)  # 20 a second, 900 left
    assert whole.seconds_left() == pytest.approx(45) and whole.summary() == "45 s left in total"
    whole.start("looks")  # a stage that nobody counted on
    clock.now = 100
    whole.advance(3)
    assert whole.rate("pairs") == 20 and whole.seconds_left() == pytest.approx(45)
    whole.start("pairs")
    clock.now = 145
    whole.advance(2000)  # more than was expected
    assert whole.seconds_left() == 0 and whole.summary() == ""


def test_time_left_during_planted_leaks() -> None:
    """Planted images are expected like others; stages that look at pairs of images leave the rate of comparisons."""
    clock = Clock()
    whole = WholeRun(clock)
    work = Workload({"synthetic": 60, "training": 40}, 40, {"face": 8}, 10, planted=100)
    whole.expect({**expected_units(work, {}), "pairs": 1000})
    whole.start("images")
    clock.now = 10
    whole.advance(100)
    whole.start("pairs")
    clock.now = 11
    whole.advance(1000)
    whole.start("image pairs")
    clock.now = 51
    whole.advance(20)
    assert whole.rate("pairs") == 1000 and whole.summary() == "10 s left in total"
    whole.start("images")
    clock.now = 56
    whole.advance(50)
    assert whole.seconds_left() == pytest.approx(5)


def test_no_stage_but_a_comparison_counts_pairs() -> None:
    stages = [
        (file.stem, unit)
        for file in (Path(unveil.__file__).parent / "analysis").rglob("*.py")
        for unit in re.findall(r'progress\.start\([^\n]*"([a-z ]+)"\)', file.read_text())
    ]
    assert len(stages) >= 4 and [stem for stem, unit in stages if unit == "pairs"] == ["comparisons"]


def test_a_line_while_nothing_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.cli.progress.POLL_SECONDS", 0.01)
    clock = Clock()
    with TerminalProgress("", clock=clock) as progress:
        progress.start("measuring hubness", 0, "")
        clock.now = SECONDS_BETWEEN_LINES
        printed, limit = "", time.monotonic() + 20
        while not printed and time.monotonic() < limit:
            time.sleep(0.01)
            printed = capsys.readouterr().err
    assert printed == "measuring hubness\n"
    clock.now *= 3
    time.sleep(0.05)
    assert capsys.readouterr().err == "", "nothing is printed after the end"


def test_a_line_every_half_minute_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unveil.cli.progress.POLL_SECONDS", 1000)  # Another test shows what is printed meanwhile.
    for quiet in (False, True):
        clock = Clock()
        with TerminalProgress("", quiet=quiet, clock=clock) as progress:
            progress.start("embedding \x1b", 1500, "images")
            clock.now = SECONDS_BETWEEN_LINES - 1
            progress.advance(400)
            clock.now += 1
            progress.advance(600)
            progress.advance(100)
            clock.now += SECONDS_BETWEEN_LINES
            progress.start("comparing", 8, "pairs")
            progress.advance(2)
        lines = [] if quiet else ["embedding \\x1b: 1,000 of 1,500 images", "comparing: 2 of 8 pairs"]
        assert capsys.readouterr().err.splitlines() == lines


def test_durations() -> None:
    told = [duration(s) for s in (0, 59, 119, 120, 7199, 7200, 2 * 86400 - 1, 2 * 86400)]
    assert told == ["0 s", "59 s", "119 s", "2 min", "120 min", "2.0 h", "48.0 h", "2.0 days"]


def test_a_log_is_lines_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET_KEY", "not-to-be-told-9876")
    file = tmp_path / "log.jsonl"
    with JsonLog(Silent(), str(file)) as log:
        log.expect({"images": 4})
        log.start("embedding", 4, "images")
        log.workers(2, 0)
        log.workers(2, 0)
        log.workers(2, 1)
        log.advance(4)
        logging.getLogger("unveil.test").info("it is not-to-be-told-9876\nin two lines")
    with pytest.raises(StoreError), JsonLog(Silent(), str(file)):
        raise StoreError("gone")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        *("expected", "stage", "workers", "workers", "message", "progress", "finished", "ended")
    ]
    last = lines[5]
    assert last["done"] == last["total"] == 4 and (last["workers"], last["retries"]) == (2, 1)
    assert last["seconds_left_of_all"] == 0 and lines[4]["text"] == "it is ***\nin two lines"
    assert (lines[-1]["error"], lines[-1]["text"]) == ("StoreError", "gone")
    assert all(line["at"].endswith("+00:00") for line in lines)
    with pytest.raises(SettingError, match="--log"):
        JsonLog(Silent(), str(tmp_path / "no/such/folder/log"))


def test_a_full_disk_of_the_log_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with JsonLog(Silent(), str(tmp_path / "log")) as log, monkeypatch.context() as patch:
        patch.setattr(log, "_file", Full())
        with pytest.raises(OSError, match="No space left") as raised:
            log.expect({"pairs": 1})
    assert raised.value.filename == str(tmp_path / "log")
