"""A run that somebody else made decides nothing: no place that is read, written to or connected to."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

import unveil
from tests.builders import drawn_faces, encoded, write
from tests.cli.runner import unveil as command_line
from unveil.demo.world import World
from unveil.errors import ImageError, ModelError, SettingError, SourceError, StoreError
from unveil.io.run_directory import RunDirectory
from unveil.io.text import printable_document
from unveil.mitigation import Guard, clean
from unveil.report.text import NOT_OWN
from unveil.results import from_document
from unveil.review.verdicts import VerdictStore
from unveil.runs.finished import FinishedRun
from unveil.runs.parts import result_sha256

Audited = tuple[unveil.AuditResult, Path]


def forged(run: Path, target: Path, **places: Any) -> Path:
    """A copy of a run whose manifest, as a stranger could write it, names other places and a cluster."""
    shutil.copytree(run, target)
    manifest = json.loads((target / "manifest.json").read_text())
    audit = json.loads((target / "audit.json").read_text())
    manifest["places"] |= places
    for document in (manifest, audit["manifest"]):
        document["settings"] |= {"engine": "ray:10.0.0.1:6379", "workers": 99, "out": "/elsewhere"}
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "audit.json").write_text(json.dumps(audit))
    return target


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("unveil.io.remote.filesystem", refuse)
    monkeypatch.setattr("unveil.images.blob.filesystem", refuse)


ELSEWHERE = {
    **dict.fromkeys(("synthetic", "training", "control"), "https://attacker.example/set.zip"),
    "store": "s3://attacker/store",
    "model": ["https://attacker.example/model.onnx"],
    "detector": "/dev/zero",
}


@pytest.mark.usefixtures("no_network")
def test_places_of_a_stranger_are_not_used(audited: Audited, tmp_path: Path) -> None:
    assert FinishedRun(audited[1]).own
    run = FinishedRun(forged(audited[1], tmp_path / "run", **ELSEWHERE))
    assert not run.own and run.store == "" and not run.sources()
    assert not {"engine", "workers", "out", "synthetic", "exclude"} & set(run.values)
    with pytest.raises(SourceError, match=r"places in it are not used\. Name their place with --training"):
        run.source("training")
    with pytest.raises(SettingError, match="--synthetic: expected the place"):
        clean(run, tmp_path / "clean")
    places = dict.fromkeys(("synthetic", "training", "control"), "/usr")
    with pytest.raises(SettingError, match="--store: expected a folder"):
        clean(FinishedRun(run.path, places), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("signature"),
        lambda manifest: manifest["places"].update(store="/elsewhere"),
        lambda manifest: manifest.update(signature=["x"]),
        lambda manifest: manifest.update(signature="0" * 64),
    ],
)
def test_a_changed_manifest_is_a_strangers(audited: Audited, tmp_path: Path, change: Any) -> None:
    shutil.copytree(audited[1], tmp_path / "run")
    file = tmp_path / "run/manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    assert not FinishedRun(tmp_path / "run").own


def test_without_the_key_every_run_is_a_strangers(
    audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "key"))
    assert not FinishedRun(audited[1]).own and not (tmp_path / "key").exists()


@pytest.mark.usefixtures("no_network")
def test_a_model_of_a_stranger_is_taken_from_the_library(audited: Audited, tmp_path: Path) -> None:
    run = FinishedRun(forged(audited[1], tmp_path / "run"))
    assert run.channel_config.models == (None,) and run.detector == "dlib"
    named = FinishedRun(forged(audited[1], tmp_path / "named", model=["/etc/passwd"]))
    for document in ("manifest.json", "audit.json"):
        file = named.path / document
        found = json.loads(file.read_text())
        (found if document == "manifest.json" else found["manifest"])["settings"]["model"] = ["/etc/passwd"]
        file.write_text(json.dumps(found))
    with pytest.raises(ModelError, match="install the file with unveil models add"):
        _ = FinishedRun(named.path).channel_config


@pytest.mark.parametrize("setting", ["model", "detector"])
def test_a_model_of_a_stranger_is_no_file_of_the_current_folder(
    audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The current folder may be the one that the stranger sent."""
    run = forged(audited[1], tmp_path / "run")
    for document in ("manifest.json", "audit.json"):
        found = json.loads((run / document).read_text())
        settings = (found if document == "manifest.json" else found["manifest"])["settings"]
        settings[setting] = ["recogniser"] if setting == "model" else "recogniser"
        (run / document).write_text(json.dumps(found))
    monkeypatch.chdir(tmp_path)
    _ = FinishedRun(run).channel_config
    write(tmp_path / "recogniser", "")
    with pytest.raises(ModelError, match="expected a model of the library"):
        _ = FinishedRun(run).channel_config


def test_a_stranger_does_not_decide_that_links_are_followed(audited: Audited, tmp_path: Path) -> None:
    run = forged(audited[1], tmp_path / "run")
    for document in ("manifest.json", "audit.json"):
        found = json.loads((run / document).read_text())
        (found if document == "manifest.json" else found["manifest"])["settings"]["follow_links"] = True
        (run / document).write_text(json.dumps(found))
    write(tmp_path / "private/photo.png", encoded(drawn_faces(1, 0)[0]))
    write(tmp_path / "set/a.png", encoded(drawn_faces(1, 1)[0]))
    (tmp_path / "set/link").symlink_to(tmp_path / "private")
    source = FinishedRun(run, {"synthetic": str(tmp_path / "set")}).source("synthetic")
    assert not any("photo" in record.id for record in source.records)
    with pytest.raises(ImageError, match="links are not followed"):
        source.read(next(record for record in source.records if record.id == "link"))


def test_a_stranger_names_no_file_of_labels(audited: Audited, world: World, tmp_path: Path) -> None:
    run = forged(audited[1], tmp_path / "run")
    for document in ("manifest.json", "audit.json"):
        found = json.loads((run / document).read_text())
        settings = (found if document == "manifest.json" else found["manifest"])["settings"]
        settings["labels"]["training"] = "list:/etc/passwd"
        (run / document).write_text(json.dumps(found))
    places = {role: str(getattr(world, role)) for role in ("synthetic", "training", "control")}
    opened = FinishedRun(run, {**places, "store": str(tmp_path / "store")})
    assert set(opened.sources()) == {"synthetic", "control"}
    with pytest.raises(SourceError, match="so the files in it are not read"):
        clean(opened, tmp_path / "clean")


def test_texts_of_a_stranger_hold_no_control_characters(audited: Audited, tmp_path: Path) -> None:
    run = forged(audited[1], tmp_path / "run")
    file = run / "audit.json"
    audit = json.loads(file.read_text())
    audit["headline"] += "\x1b]0;owned\x07"
    audit["people"][0]["person"] = "\x1b[2Jnobody"
    audit["manifest"]["versions"]["unveil"] += "\x1b]0;owned\x07<script>"
    audit["manifest"]["inputs"]["training"]["kind"] += "\x1b]0;owned\x07"
    file.write_text(json.dumps(audit))
    manifest = json.loads((run / "manifest.json").read_text()) | audit["manifest"]
    manifest["result"] = result_sha256(from_document(printable_document(audit)))
    (run / "manifest.json").write_text(json.dumps(manifest))
    loaded = unveil.load(run)
    assert "owned" in loaded.summary() and "nobody" in loaded.people[0].person
    assert "\x1b" not in str(loaded.manifest.values())
    assert "\x1b" not in loaded.summary() + loaded.people[0].person + loaded.people.to_frame()["person"][0]
    assert command_line("report", run, "-o", run / "again").returncode == 0
    run = run / "again"
    assert all("\x1b" not in page.read_text("utf-8") for page in (*run.glob("*.html"), *run.glob("publish/*")))
    assert all("<script>" not in page.read_text("utf-8") for page in run.glob("publish/*.md"))


def test_commands_on_a_strangers_run(audited: Audited, world: World, tmp_path: Path) -> None:
    run = forged(audited[1], tmp_path / "run", **ELSEWHERE)
    before = (run / "report.html").read_bytes()
    assert NOT_OWN not in before.decode() and b"data:image" in before
    lost = command_line("report", run)
    assert lost.returncode == 2 and "would lose its faces" in " ".join(lost.stderr.split())
    assert "is not signed with your key" in " ".join(lost.stderr.split())
    assert (run / "report.html").read_bytes() == before
    reported = command_line("report", run, "-o", tmp_path / "report", "--redact")
    assert reported.returncode == 0 and "name their place with --training" in reported.stderr, reported.stderr
    assert (run / "report.html").read_bytes() == before
    names = ("report.html", "report.pairs-1.html", "report.redacted.html", "publish/report.md", "publish/datasheet.md")
    texts = {name: (tmp_path / "report" / name).read_text("utf-8") for name in names}
    assert [name for name in names if NOT_OWN not in texts[name]] == []
    reason = "not shown: its place is not used in somebody else&#39;s run"
    assert reason in texts["report.html"] and reason in texts["report.pairs-1.html"]
    assert "can no longer be read" not in texts["report.html"] and "data:image" not in texts["report.html"]
    refused = command_line("clean", run, "-o", tmp_path / "clean")
    assert refused.returncode == 2 and "--synthetic" in refused.stderr
    Guard.build(FinishedRun(run), tmp_path / "guard")
    about = (tmp_path / "guard/guard.json").read_text()
    assert "attacker" not in about and "/dev/zero" not in about
    roles = {"--synthetic": world.synthetic, "--training": world.training, "--control": world.control}
    words = [word for pair in roles.items() for word in pair]
    shown = command_line("report", run, *words[:4])
    page = (run / "report.html").read_text("utf-8")
    assert shown.returncode == 0 and NOT_OWN in page and "data:image" in page and reason not in page
    done = command_line("clean", run, "-o", tmp_path / "clean", *words, "--store", tmp_path / "store")
    assert done.returncode == 0 and (tmp_path / "store").is_dir(), done.stderr


def test_a_report_replaces_no_other_run(audited: Audited, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited[1], tmp_path / "run"))
    other = Path(shutil.copytree(audited[1], tmp_path / "other"))
    refused = command_line("report", run, "-o", other)
    assert refused.returncode == 2 and "expected a folder without a run" in refused.stderr
    again = command_line("report", run, "-o", tmp_path / "report")
    assert again.returncode == 0, again.stderr
    for name in ("report.html", "audit.json", "publish/report.md"):
        assert (tmp_path / "report" / name).read_bytes() == (run / name).read_bytes()
    inside = command_line("report", run, "-o", FinishedRun(run).place("training") + "/report")
    assert inside.returncode == 2 and "-o" in inside.stderr


@pytest.mark.parametrize("name", ["stores", "publish", "clean", "work"])
def test_a_linked_folder_in_a_run_is_refused(audited: Audited, tmp_path: Path, name: str) -> None:
    """Otherwise `unveil report` would write where the link leads."""
    shutil.copytree(audited[1], tmp_path / "run")
    (tmp_path / "outside").mkdir()
    shutil.rmtree(tmp_path / "run" / name, ignore_errors=True)
    (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        FinishedRun(tmp_path / "run")
    with pytest.raises(SettingError, match="is a link"):
        RunDirectory(tmp_path / "run", {})
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("name", ["review.sqlite", "review.sqlite-wal", "review.sqlite-journal"])
def test_verdicts_are_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="a link"):
        VerdictStore(tmp_path / "run")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", ["manifest.json", "audit.json", "exposures.parquet", "stores/state.npz"])
def test_a_pipe_in_a_run_never_blocks(audited: Audited, tmp_path: Path, name: str) -> None:
    shutil.copytree(audited[1], tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(StoreError):
        _ = FinishedRun(tmp_path / "run").state
