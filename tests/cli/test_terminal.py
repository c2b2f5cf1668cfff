"""Control characters of files never reach a terminal, and messages of the library appear there once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import pytest
from rich.table import Table
from rich.text import Text

from tests.builders import write
from tests.cli.runner import unveil
from unveil.choices import NO_LEAK, AuditVerdict
from unveil.cli.exit_codes import FailOn
from unveil.cli.terminal import echo, messages_on_terminal, messages_to, open_console
from unveil.io.text import printable

HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\x9b31m\udcff\u202eb"


def test_printable_text() -> None:
    assert printable("Zoë 佐藤.png") == "Zoë 佐藤.png"
    shown = printable(HOSTILE + "\n")
    assert shown.isprintable() and shown.startswith("a\\x1b]0;title\\x07") and shown.endswith("b\\n")
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Pytest would pass the message on to another process, which cannot encode it.
    monkeypatch.setattr(logging.getLogger("unveil"), "propagate", False)
    echo(HOSTILE)
    echo(HOSTILE, error=True)
    console = open_console(wrap=False)
    console.print(HOSTILE, markup=False)
    table = Table(box=None)
    table.add_column(Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    console.print(table)
    with messages_on_terminal():
        logging.getLogger("unveil.test").warning(HOSTILE)
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert text.count("\\x1b]0;title") >= 2
        assert all(c.isprintable() or c == "\n" for c in text)


def test_an_error_that_names_a_hostile_file(tmp_path: Path) -> None:
    write(tmp_path / "\x1b[2Jlist.toml", "not toml")
    done = unveil("audit", "--settings", tmp_path / "\x1b[2Jlist.toml")
    assert done.returncode == 2 and "\x1b" not in done.stderr and "\\x1b[2Jlist.toml" in done.stderr


def test_a_message_appears_once(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("unveil")
    before = (library.level, list(library.handlers))
    records: list[str] = []
    with messages_on_terminal(), messages_on_terminal(), messages_to(lambda record: records.append(record.msg)):
        logging.getLogger("unveil.embedding").info("one message")
        logging.getLogger("unveil.embedding").debug("details")
    assert capsys.readouterr().err == "one message\n" and records == ["one message"]
    assert (library.level, list(library.handlers)) == before
    logging.getLogger("unveil.embedding").info("nobody listens")
    assert capsys.readouterr().err == ""


def test_a_broken_listener_does_not_end_an_audit(capsys: pytest.CaptureFixture[str]) -> None:
    def full(record: logging.LogRecord) -> None:
        raise OSError("no space left")

    with messages_to(full):
        logging.getLogger("unveil").info("a message")
    assert "no space left" in capsys.readouterr().err


def test_verdicts_that_fail_a_pipeline() -> None:
    verdicts = ["leak found", "leak indicated (no control set)", "inconclusive", *NO_LEAK]
    assert set(verdicts) == set(get_args(AuditVerdict))
    failing = {limit.value: [v for v in verdicts if limit.includes(v)] for limit in FailOn}
    assert failing == {"leak": verdicts[:2], "inconclusive": verdicts[:3]}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device", "x"), 4, "No space left on device: x. Check that the disk is not full"),
        (
            OSError(28, "No space left on device"),
            4,
            "No space left on device: standard output, or a temporary file in ",
        ),
        (BrokenPipeError(32, "Broken pipe"), 2, "Broken pipe: standard output. The program that reads it has ended"),
    ],
)
def test_errors_of_the_system_are_messages(
    error: OSError, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("unveil.study.read_plan", fail)
    done = unveil("study", "s.toml", "-o", tmp_path / "out")
    assert done.returncode == code and message in done.stderr


def test_completion() -> None:
    """The completion of a shell asks for the words that can follow."""
    done = unveil("--help")
    assert "--install-completion" in done.stdout and "--show-completion" in done.stdout
