"""What a command writes replaces no file but an earlier one of the same kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import unveil
from tests.builders import write
from tests.cli.runner import unveil as command_line
from unveil.api.score_files import SCORES
from unveil.cli.log import LOG, JsonLog
from unveil.embedding.precomputed import EMBEDDINGS
from unveil.errors import SettingError
from unveil.inspection.contact_sheet import CONTACT_SHEET, contact_png
from unveil.io.output_file import HTML_PAGE, OutputKind, check_log_file, check_output_file
from unveil.mitigation.batch import DECISIONS, write_decisions
from unveil.mitigation.subject_letter import LETTER
from unveil.progress import Silent
from unveil.report.write import RESULT, check_report_files
from unveil.review.app import VERDICTS_FILE, verdicts_csv
from unveil.review.verdicts import VerdictStore
from unveil.runs.finished import FinishedRun
from unveil.study.report import check_comparison_files, write_comparison

Audited = tuple[unveil.AuditResult, Path]
KINDS = (SCORES, LOG, EMBEDDINGS, CONTACT_SHEET, HTML_PAGE, DECISIONS, LETTER, RESULT, VERDICTS_FILE)
FOREIGN = (b"mine", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"time,reviewer\n", b'{"at": 1}', b"<title>mine</title>")


@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_the_user_stays(kind: OutputKind | None, content: bytes, tmp_path: Path) -> None:
    file = write(tmp_path / "file", content)
    with pytest.raises(SettingError, match=r"-o: expected a new file.*It stays as it is: name another file"):
        check_output_file("-o", file, kind)


def test_new_and_empty_files_are_written(tmp_path: Path) -> None:
    for kind in (*KINDS, None):
        check_output_file("-o", tmp_path / "new/file", kind)
        check_output_file("-o", write(tmp_path / "empty", b""), kind)


def test_links_folders_and_pipes_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write(tmp_path / "letter", b"We compared "))
    os.mkfifo(tmp_path / "pipe")
    check_output_file("-o", tmp_path / "letter", LETTER)
    for name, found in (("link", "a link"), (".", "a folder"), ("pipe", "no regular file")):
        with pytest.raises(SettingError, match=f"found {found}"):
            check_output_file("-o", tmp_path / name, LETTER)


def test_what_unveil_wrote_is_replaced(audited: Audited, tmp_path: Path) -> None:
    loaded = unveil.load(audited[1])
    store = VerdictStore(tmp_path)
    made: dict[OutputKind, Callable[[Path], object]] = {
        DECISIONS: lambda path: write_decisions(path, []),
        VERDICTS_FILE: lambda path: path.write_text(verdicts_csv(store)),
        CONTACT_SHEET: lambda path: contact_png([("a", [])], path),
        SCORES: loaded.write_scores,
        HTML_PAGE: lambda path: shutil.copy(audited[1] / "report.html", path),
        RESULT: lambda path: shutil.copy(audited[1] / "audit.json", path),
    }
    for i, (kind, make) in enumerate(made.items()):
        make(tmp_path / str(i))
        check_output_file("-o", tmp_path / str(i), kind)
        others = [other for other in KINDS if other is not kind]
        for other in others:
            with pytest.raises(SettingError):
                check_output_file("-o", tmp_path / str(i), other)
    store.close()
    for call in (loaded.write_scores, loaded.write_roc, loaded.report):
        with pytest.raises(SettingError, match="path: expected a new file or "):
            call(write(tmp_path / "mine", b"mine"))
    loaded.write_roc(tmp_path / "roc")
    loaded.write_roc(tmp_path / "roc")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_python_writes_nothing_among_the_images(audited: Audited) -> None:
    loaded = unveil.load(audited[1])
    images = Path(FinishedRun(audited[1]).place("training"))
    for call in (loaded.write_scores, loaded.write_roc, loaded.report):
        with pytest.raises(SettingError, match="training images"):
            call(images / "new.html")
    assert not (images / "new.html").exists()


def test_a_log_is_added_to_a_log_only(tmp_path: Path) -> None:
    with JsonLog(Silent(), str(tmp_path / "log")):
        pass
    (tmp_path / "link").symlink_to("log")
    for name in ("log", "link", "new"):
        check_log_file("--log", tmp_path / name, LOG)
    check_log_file("--log", "/dev/null", LOG)
    with pytest.raises(SettingError, match="--log: expected a new file or a log of unveil, found another file"):
        check_log_file("--log", write(tmp_path / "mine", b"mine"), LOG)


@pytest.mark.parametrize(
    "name", ["audit.json", "people.parquet", "review.sqlite", "review.sqlite-wal", "stores/training.npy"]
)
def test_files_of_a_run_are_not_written(name: str, tmp_path: Path) -> None:
    write(tmp_path / "run/manifest.json", b"{}")
    for check in (check_output_file, check_log_file):
        with pytest.raises(SettingError, match="expected a file that is no part of a run, found"):
            check("--export", tmp_path / "run" / name, LOG)
    check_output_file("--export", tmp_path / "run/verdicts.csv", LOG)


def test_reports_and_studies_replace_no_other_file(audited: Audited, tmp_path: Path) -> None:
    for name in ("report.html", "report.pairs-1.html", "audit.json", "publish/junit.xml"):
        write(tmp_path / name / name, b"mine")
        with pytest.raises(SettingError, match=name):
            check_report_files("-o", tmp_path / name)
    for name in ("report.html", "audit.json", "publish/junit.xml"):
        write(tmp_path / "report" / name, (audited[1] / name).read_bytes())
    check_report_files("-o", tmp_path / "report")
    check_report_files("-o", tmp_path / "new")
    for name in ("study.csv", "study.json", "study.html", "study.redacted.html"):
        write(tmp_path / name / name, b"mine")
        with pytest.raises(SettingError, match=name):
            check_comparison_files(tmp_path / name)
    write_comparison("a study", [], {}, tmp_path / "study", redact=True)
    check_comparison_files(tmp_path / "study")


def test_every_command_asks_before_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = write(tmp_path / "mine", b"mine")
    for name in ("images", "other", "run"):
        (tmp_path / name).mkdir()
    write(tmp_path / "run/review.sqlite", b"verdicts")
    commands = (
        ("embed", "images", "-o", "mine"),
        ("inspect", "images", "--contact-sheet", "mine"),
        ("guard", "check", "guard", "images", "-o", "mine"),
        ("lookup", "photo.png", "--run", "run", "-o", "mine"),
        ("review", "run", "--export", "mine"),
        ("audit", "--synthetic", "images", "--training", "other", "-o", "new", "--log", "mine"),
        ("plan", "--synthetic", "images", "--training", "other", "--protocol", "mine"),
    )
    for words in commands:
        done = command_line(*words)
        assert done.returncode == 2 and "It stays as it is: name another file" in " ".join(done.stderr.split()), words
        assert mine.read_bytes() == b"mine"
