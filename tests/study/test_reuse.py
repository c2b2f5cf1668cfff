"""A finished audit is reused in a study only if its inputs are the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unveil.study.run
from tests.builders import drawn_faces, encoded, write
from unveil.config.parsing import settings_from
from unveil.errors import ImageError, SettingError
from unveil.images import open_source
from unveil.images.readers.folder import FolderSource
from unveil.progress import Silent
from unveil.results import from_document
from unveil.runs.inputs import STAMPS, input_stamps, same_inputs
from unveil.runs.parts import result_sha256
from unveil.study import read_plan, run_study
from unveil.study.report import SetRow, write_comparison
from unveil.types import ImageRecord

STUDY = """
[settings]
planted_leaks = "off"
resamples = 1
labels = "one-per-image"
channels = "face"
[[set]]
name = "one"
synthetic = "synthetic"
training = "training"
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user with a small study, as the current folder."""
    faces = drawn_faces(60, 11)
    for role, part in (("synthetic", faces[:20]), ("training", faces[20:])):
        for i, face in enumerate(part):
            write(tmp_path / role / f"{i:02d}.png", encoded(face))
    write(tmp_path / "study.toml", STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "out/runs/one/manifest.json").read_text())
    return document


def test_texts_of_a_study_hold_no_control_characters(tmp_path: Path) -> None:
    text = "a\u202e\x1b[2J\x07"
    row = SetRow(text, text, "absent", text)
    write_comparison(text, [row], {}, tmp_path, redact=True)
    for file in tmp_path.iterdir():
        assert not {"\u202e", "\x1b", "\x07"} & set(file.read_text("utf-8")), file.name
        assert "\\x1b[2J" in file.read_text("utf-8") or file.suffix == ".json"


def test_nothing_is_written_through_a_link(study: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for place in ("out/runs", "another/runs/one"):
        link = study / place
        link.parent.mkdir(parents=True)
        link.symlink_to(elsewhere)
        with pytest.raises(SettingError, match="is a link, which is not followed in a study"):
            run_study(read_plan(study / "study.toml"), study / place.partition("/")[0])
    assert not list(elsewhere.iterdir())


def test_a_changed_image_is_audited_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder of a user, with relative paths."""

    def run() -> None:
        (row,) = run_study(read_plan(Path("study.toml")), Path("out"), Silent())
        assert row.state == "audited", row.headline

    run()
    first = manifest(study)
    run()
    assert manifest(study) == first

    # Another image under the same name, with the same size and modification time.
    file = study / "synthetic/07.png"
    status, old = file.stat(), file.read_bytes()
    new = bytearray(encoded(drawn_faces(1, 99)[0]))
    new = new[: len(old)] if len(new) > len(old) else new + bytes(len(old) - len(new))
    file.write_bytes(new)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    run()
    second = manifest(study)
    assert second["inputs"]["synthetic"]["sha256"] != first["inputs"]["synthetic"]["sha256"]
    assert second["inputs"]["training"] == first["inputs"]["training"]

    # The same images with other times are read, and not audited.
    for image in study.rglob("0*.png"):
        os.utime(image)
    monkeypatch.setattr(unveil.study.run, "run_audit", lambda *_: pytest.fail("audited again"))
    run()
    # So is a study that is run from another folder, and one whose images are gone.
    monkeypatch.chdir("/usr")
    (row,) = run_study(read_plan(study / "study.toml"), study / "out", Silent())
    assert row.state == "audited"
    shutil.rmtree(study / "training")
    (row,) = run_study(read_plan(study / "study.toml"), study / "out", Silent())
    assert row.state == "audited" and "no longer available" in row.notes[-1]
    assert str(study) not in row.notes[-1], "the redacted page shows notes"
    assert manifest(study) == second


@pytest.mark.parametrize("change", ["no signature", "other result"])
def test_an_audit_of_somebody_else_is_no_result(study: Path, change: str) -> None:
    plan, run = read_plan(Path("study.toml")), study / "out/runs/one"
    (true,) = run_study(plan, Path("out"), Silent())
    audit = json.loads((run / "audit.json").read_text())
    write(run / "audit.json", json.dumps({**audit, "headline": "Nobody is exposed."}))
    if change == "no signature":
        found = {name: value for name, value in manifest(study).items() if name != "signature"}
        found["result"] = result_sha256(from_document({**audit, "headline": "Nobody is exposed."}))
        write(run / "manifest.json", json.dumps(found))
    (row,) = run_study(plan, Path("out"), Silent())
    assert row.state == "audited" and row.headline == true.headline


@pytest.fixture
def recorded(study: Path) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Makes settings and a manifest with the stamps of the inputs as they are now, and hashes that fit no input."""

    def record(**more: Any) -> tuple[Any, dict[str, Any]]:
        values = {"synthetic": "synthetic", "training": "training", "out": "run", **more}
        settings = settings_from(values)
        sources = {role: open_source(location) for role, location in settings.locations.items()}
        inputs = {role: {"sha256": "0" * 64} for role in sources}
        return settings, {STAMPS: input_stamps(settings), "inputs": inputs}

    return record


def test_unchanged_inputs_are_not_read(
    recorded: Callable[..., tuple[Any, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, manifest = recorded()

    def read(self: FolderSource, record: ImageRecord) -> bytes:
        raise AssertionError(f"{record.id} was read")

    monkeypatch.setattr(FolderSource, "read", read)
    assert same_inputs(settings, manifest)


@pytest.mark.parametrize("change", ["content", "added", "removed", "renamed", "list", "gone"])
def test_every_change_is_noticed(study: Path, recorded: Callable[..., tuple[Any, dict[str, Any]]], change: str) -> None:
    write(study / "excluded.txt", "03.png\n")
    settings, manifest = recorded(exclude=study / "excluded.txt")
    assert same_inputs(settings, manifest)
    file = study / "training/05.png"
    if change == "content":
        write(file, file.read_bytes() + b" ")
    elif change == "added":
        write(study / "training/99.png", file.read_bytes())
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(study / "training/98.png")
    elif change == "list":
        write(study / "excluded.txt", "04.png\n")
    else:
        shutil.rmtree(study / "training")
    assert not same_inputs(settings, manifest)


def table_of_paths(file: Path, paths: list[str]) -> Path:
    """A table whose rows name files instead of holding them."""
    image = pa.array(
        [{"bytes": None, "path": path} for path in paths], pa.struct({"bytes": pa.binary(), "path": "str"})
    )
    table = pa.table({"image": image})
    if file.suffix == ".parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return file


@pytest.mark.parametrize(
    "form", ["list", "linked list", "container", "a.parquet", "a.arrow", "linked a.parquet", "linked beside a.arrow"]
)
def test_lists_and_containers(study: Path, recorded: Callable[..., tuple[Any, dict[str, Any]]], form: str) -> None:
    """The images of a list, those that a table names, and the files beside a container, count as inputs."""
    paths = [f"training/{i:02d}.png" for i in range(30)]
    (study / "linked").mkdir()
    if "list" in form:
        write(study / "images.txt", "".join(f"{path}\n" for path in paths))
        (study / "linked/images.txt").symlink_to(study / "images.txt")
        settings, manifest = recorded(training="list:linked/images.txt" if "linked" in form else "list:images.txt")
    elif "a." in form:
        inside = "beside" in form
        place = study / "training" if inside else study
        file = table_of_paths(place / form.split()[-1], [p.removeprefix("training/") if inside else p for p in paths])
        (study / "linked" / file.name).symlink_to(file)
        settings, manifest = recorded(training=f"linked/{file.name}" if "linked" in form else file.name)
    else:
        shutil.make_archive("sets/images", "zip", study / "training")
        settings, manifest = recorded(training="sets/images.zip")
    assert same_inputs(settings, manifest)
    if form != "container":
        write(study / "training/29.png", (study / "training/28.png").read_bytes())
    else:
        write(study / "sets/images.lst", "labels")
    assert not same_inputs(settings, manifest)


def test_the_hash_is_that_of_the_audit(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With rejects of every stage and an excluded image, copied images have the recorded hash."""
    write(study / "training/broken.png", b"\x89PNG\r\n\x1a\n cut")
    (study / "training/link.png").symlink_to("/etc/hostname")
    write(study / "excluded.txt", "03.png\n")
    write(study / "study.toml", STUDY.replace("resamples = 1", 'resamples = 1\nexclude = "excluded.txt"'))
    plan = read_plan(study / "study.toml")
    (row,) = run_study(plan, study / "out", Silent())
    assert row.state == "audited", row.headline
    assert manifest(study)["inputs"]["training"]["images"] == 42
    for role in ("synthetic", "training"):
        shutil.move(study / role, study / "old")
        shutil.copytree(study / "old", study / role, symlinks=True, copy_function=shutil.copyfile)
        shutil.rmtree(study / "old")
    settings = plan.settings_of(plan.sets[0], study / "out")
    assert same_inputs(settings, manifest(study))
    monkeypatch.setattr(FolderSource, "read", _unreadable)
    assert not same_inputs(settings, manifest(study))


def _unreadable(self: FolderSource, record: ImageRecord) -> bytes:
    raise ImageError("read", "unreadable file", record.id)
