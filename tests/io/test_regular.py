"""Odd places: pipes, links to themselves, links to nothing, folders nested a thousand levels deep, and umasks."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import containers
from tests.builders import audit, encoded, unit_rows, write
from unveil.cli.log import JsonLog
from unveil.config.parsing import read_toml
from unveil.embedding.crash_marker import mark_in_progress
from unveil.errors import ImageError, ModelError, SettingError, SourceError
from unveil.faces.models.library import installed_models, read_model
from unveil.faces.models.spec import description_path
from unveil.images import LabelRule, open_source, read_label_map, read_labels
from unveil.images.blob import LocalBlob
from unveil.images.location import FORMS
from unveil.images.source import Source, read_file
from unveil.io.atomic import write_bytes
from unveil.io.checksums import file_sha256
from unveil.io.folders import exclusive, unchanged
from unveil.io.npy import read_npz
from unveil.io.regular import open_regular, read_regular
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import LocalStorage
from unveil.io.walk import MAX_DEPTH, real_path, walk
from unveil.progress import Silent

IMAGE = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


def reasons(source: Source) -> dict[str, str]:
    """What becomes of each record: empty if it is read."""
    found = {}
    for record in source.records:
        try:
            found[record.id] = "" if source.read(record) else "empty"
        except ImageError as error:
            found[record.id] = str(error)
    return found


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (open_regular, file_sha256, read_npz, lambda path: read_regular(path, 10)):
        with pytest.raises(OSError, match="a regular file was expected"):
            read(tmp_path / "pipe")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
    with pytest.raises(SourceError, match="a regular file was expected"):
        open_source(tmp_path / "pipe")
    write(tmp_path / "images/a.png", IMAGE)
    os.mkfifo(tmp_path / "images/b.png")
    assert reasons(open_source(tmp_path / "images")) == {
        "a.png": "",
        "b.png": "unreadable file: b.png: a regular file was expected",
    }


def odd(path: Path, kind: str) -> Path:
    """A file of a kind that is never read: it waits for a writer, or it has no end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)  # the whole path would be too long
    return path


ODD = ("pipe", "device", "socket")
REFUSED = "a regular file was expected|No such device|no such file"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ODD)
class TestOddFiles:
    def test_as_a_source(self, kind: str, tmp_path: Path) -> None:
        place = odd(tmp_path / "odd", kind)
        for form in ("", *(f"{form}:" for form in FORMS if form not in ("folder", "grid"))):
            with pytest.raises(SourceError, match=REFUSED):
                open_source(f"{form}{place}")
        with pytest.raises(SourceError, match="folder"):
            open_source(f"folder:{place}")
        with pytest.raises(SourceError, match=REFUSED):
            open_source(f"grid,cell=24:{place}")
        with pytest.raises(SourceError, match=REFUSED):
            open_source(f"{tmp_path}/{{odd,other}}")
        for read in (read_labels, read_label_map):
            with pytest.raises(SourceError, match=REFUSED):
                read(place)

    @pytest.mark.parametrize("follow", [False, True])
    def test_among_images(self, kind: str, follow: bool, tmp_path: Path) -> None:
        write(tmp_path / "images/a.png", IMAGE)
        odd(tmp_path / "images/b.png", kind)
        odd(tmp_path / "images/dataset.json", kind)
        write(tmp_path / "images/list.csv", "a.png,1\nb.png,2\n")
        for place in (tmp_path / "images", f"list:{tmp_path}/images/list.csv"):
            found = reasons(open_source(place, follow_links=follow))
            assert {id: why[:10] for id, why in found.items()} == {"a.png": "", "b.png": found["b.png"][:10]}
            assert found["b.png"].startswith(("unreadable file", "link leaves the folder"))

    def test_as_the_list_of_a_label_rule(self, kind: str, tmp_path: Path) -> None:
        write(tmp_path / "images/a.png", IMAGE)
        (tmp_path / "vectors").mkdir()
        np.save(tmp_path / "vectors/v.npy", np.eye(3))
        for place in (tmp_path / "images", tmp_path / "vectors"):
            odd(place / "people.txt", kind)
            with pytest.raises(SourceError, match=r"regular file|people\.txt|link leaves"):
                open_source(place, LabelRule.parse("list:people.txt"))

    def test_beside_a_container(self, kind: str, tmp_path: Path) -> None:
        """It is not waited for: it is passed over, or an error that names it."""
        items = containers.drawn_items(2, each=1)
        for name, files in (
            ("RecordIO", ("train.tsv", "train.lst")),
            ("DCFace", ()),
            ("LMDB, msgpack", ("mask.npy",)),
            ("Parquet", ("other.parquet", "b.json")),
            ("TFRecord", ("other.tfrecords",)),
        ):
            to = tmp_path / name.replace(" ", "-")
            to.mkdir()
            where = containers.WRITERS[name](to, items)
            folder = next(file.parent for file in to.rglob("*") if file.is_file())
            replaced = [*folder.glob("*.idx"), *folder.glob("*.labels"), *folder.glob("list.txt")]
            for beside in replaced:
                beside.unlink()
            beside_it = [*replaced, *(folder / file for file in files)]
            for file in beside_it:
                odd(file, kind)
            try:
                n_images = len(reasons(open_source(where)))
            except SourceError as error:
                assert any(str(file) in str(error) for file in beside_it)
            else:
                assert n_images == 2
            if name.startswith("LMDB"):
                with pytest.raises(SourceError, match=r"mask\.npy"):
                    open_source(f"lmdb,mask=mask.npy:{where}")

    def test_beside_a_model(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("unveil.faces.models.library.library_folder", lambda: tmp_path)
        model = write(tmp_path / "a/a.onnx", b"no model")
        odd(model.parent / "manifest.json", kind)
        odd(description_path(model), kind)
        assert [one.spec for one in installed_models() if one.path == model] == [None]
        with pytest.raises(ModelError):
            read_model(model)

    def test_as_a_row_that_names_a_file(self, kind: str, tmp_path: Path) -> None:
        odd(tmp_path / "b.png", kind)
        rows = [{"bytes": IMAGE, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
        pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")
        found = reasons(open_source(tmp_path / "x.parquet"))
        assert found["a.png"] == "" and found["b.png"].startswith(("unreadable file", "link leaves the folder"))


def test_no_command_waits_for_a_pipe(tmp_path: Path) -> None:
    """Opening a pipe waits until another process opens its other end."""
    os.mkfifo(tmp_path / "pipe")
    for lock in (exclusive, unchanged):
        with pytest.raises(SettingError, match="pipe: expected a folder, found a file"), lock(tmp_path / "pipe"):
            pass
    with pytest.raises(SettingError, match=r"expected a readable TOML file, found an error .*a regular file was"):
        read_toml(tmp_path / "pipe")
    with pytest.raises(ModelError, match="a regular file was expected"):
        read_model(tmp_path / "pipe")
    with pytest.raises(SettingError, match="--log: expected a file that can be written"):
        JsonLog(Silent(), str(tmp_path / "pipe"))
    # A program that reads it gets the log.
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with JsonLog(Silent(), str(tmp_path / "pipe")) as log:
        log.start("stage", 1, "images")
    assert b"stage" in os.read(reader, 10_000)
    os.close(reader)


def test_a_file_of_holes_is_not_read(tmp_path: Path) -> None:
    """It costs its author nothing."""
    with (tmp_path / "hollow").open("wb") as file:
        file.truncate(2**40)
    for read in (file_sha256, lambda path: read_regular(path, 2**41)):
        with pytest.raises(OSError, match="of which the disk holds 0"):
            read(tmp_path / "hollow")
    with pytest.raises(SourceError):
        read_file(tmp_path / "hollow", 2**41)
    with pytest.raises(SourceError):
        LocalBlob(tmp_path / "hollow").read_all(2**41)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = write(tmp_path / "file", b"123")
    assert read_regular(file, 3) == b"123"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_regular(file, 2)


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_to_itself_is_a_reject(follow: bool, tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", IMAGE)
    (tmp_path / "images/self.png").symlink_to("self.png")
    (tmp_path / "images/around").symlink_to(".")
    write(tmp_path / "list.txt", "images/a.png 1\nimages/self.png 2\n")
    for place in (tmp_path / "images", tmp_path / "list.txt"):
        found = reasons(open_source(place, follow_links=follow))
        assert sorted(reason == "" for reason in found.values())[-1] and len(found) <= 3
        assert all("symbolic links" in why for id, why in found.items() if id.endswith("self.png"))
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "images/self.png")
    assert real_path(tmp_path / "images/self.png").name == "self.png"


def test_outputs_through_a_link_to_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("self")
    for role in ("synthetic", "training"):
        np.savez(tmp_path / f"{role}.npz", vectors=unit_rows(np.random.default_rng(0), 40, 8))
    sets = tmp_path / "synthetic.npz", tmp_path / "training.npz"
    with pytest.raises(SettingError, match="-o: expected a folder, found a link to nothing"):
        audit(*sets, out=tmp_path / "self")
    with pytest.raises(SettingError, match="--store: expected a folder, found a link to nothing"):
        audit(*sets, out=tmp_path / "run", store=tmp_path / "self")


def test_a_thousand_levels_are_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "deep/here.png", IMAGE)
    monkeypatch.chdir(tmp_path / "deep")
    for _ in range(1500):
        os.mkdir("a")  # noqa: PTH102 (the whole path would be too long)
        os.chdir("a")
    os.chdir(tmp_path)
    try:
        found = reasons(open_source(tmp_path / "deep"))
        parents = [parent for parent, _, _ in walk(tmp_path / "deep")]
    finally:
        # Python cannot remove so deep a folder: pytest would fail to clean up.
        subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)
    assert found.pop("here.png") == "" and len(found) == 1
    assert all("unreadable file" in why for why in found.values())
    assert len(parents) == MAX_DEPTH + 1


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_may_name_people_is_private_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        RunDirectory(tmp_path / "run", {}).begin()
        LocalStorage(tmp_path / "store").write("ab/cd/file", b"1")
        write_bytes(tmp_path / "made/within/file", b"1")
        with mark_in_progress(tmp_path / "run/stores/synthetic.in-progress", "synthetic") as mark:
            mark("a.png")
            assert not stat.S_IMODE((tmp_path / "run/stores/synthetic.in-progress").stat().st_mode) & 0o077
        with JsonLog(Silent(), str(tmp_path / "log.jsonl")) as log:
            log.start("stage", 1, "images")
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path != tmp_path]
    assert len(made) >= 10
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o077, f"{path} {mode:o}"


def test_a_link_or_a_pipe_in_place_of_the_mark_of_a_crash_is_neither_followed_nor_read(tmp_path: Path) -> None:
    """A run that somebody else left unfinished could hold one."""
    mine = write(tmp_path / "mine", b"keep")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/link.in-progress").symlink_to(mine)
    os.mkfifo(tmp_path / "run/pipe.in-progress")
    for name in ("link", "pipe"):
        with mark_in_progress(tmp_path / f"run/{name}.in-progress", name) as mark:
            mark("a.png")
    assert mine.read_bytes() == b"keep" and not any((tmp_path / "run").iterdir())
