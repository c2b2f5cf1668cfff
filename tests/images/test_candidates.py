"""A folder of containers is read whole: a file that should be one of them and is none is an error, never left out."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import containers as c
from tests.builders import encoded, write
from tests.containers import Item
from tests.images.conftest import Written
from unveil.errors import SourceError
from unveil.images import candidates, open_source
from unveil.images.candidates import SAMPLE_FILES, suffix_of
from unveil.images.label_rule import LabelRule
from unveil.inspection.inspect import candidate_locations

# Where each container's file lies in what its writer returns, and the suffix of the shards.
SHARDS = {
    "zip": ("", ".zip"),
    "tar": ("", ".tar"),
    "compressed tar": ("", ".tar.gz"),
    "RecordIO": ("", ".rec"),
    "verification set": ("", ".bin"),
    "TFRecord": ("faces-r06.tfrecords", ".tfrecord"),
    "LMDB, msgpack": ("", ".lmdb"),
    "Parquet": ("", ".parquet"),
    "Arrow": ("", ".arrow"),
    "HDF5, raw": ("", ".h5"),
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22\nsize 12345\n"
FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "LFS pointer": (lambda data: POINTER, "found a Git LFS pointer. Run `git lfs pull`"),
    "annex pointer": (lambda data: b"/annex/objects/SHA256E-s1--ab.tar\n", "found a git-annex pointer"),
    "empty": (lambda data: b"", "found an empty file"),
    "zeros": (lambda data: bytes(len(data)), "found zeros"),
    "web page": (lambda data: b"<!DOCTYPE html><html>404</html>", "found a web page"),
    "other bytes": (lambda data: b"\1\0" * 300, "found bytes that begin with"),
}


@pytest.fixture
def shards(written: Written, tmp_path: Path) -> Callable[[str], Path]:
    """A folder of two containers of one form; the first two of a set of three."""

    def make(name: str) -> Path:
        inside, suffix = SHARDS[name]
        (tmp_path / "set").mkdir()
        for k in range(2):
            shutil.copy(written(name) / inside if inside else written(name), tmp_path / f"set/s{k}{suffix}")
        return tmp_path / "set"

    return make


@pytest.mark.parametrize("name", SHARDS)
class TestAPartOfASet:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_that_is_no_container_is_an_error(self, name: str, fault: str, shards: Callable[[str], Path]) -> None:
        folder, suffix = shards(name), SHARDS[name][1]
        changed, message = FAULTS[fault]
        assert len(open_source(folder).records) == 48
        write(folder / f"s2{suffix}", changed((folder / f"s1{suffix}").read_bytes()))
        with pytest.raises(SourceError, match=message) as error:
            open_source(folder)
        assert f"s2{suffix}" in str(error.value) and "expected a container" in str(error.value)
        # Under the stated form as well.
        with pytest.raises(SourceError, match=message):
            open_source(f"{candidate_form(name)}:{folder}")

    def test_behind_a_link_is_read_only_on_request(self, name: str, shards: Callable[[str], Path]) -> None:
        folder, suffix = shards(name), SHARDS[name][1]
        blobs = folder.parent / "blobs"
        blobs.mkdir()
        (folder / f"s1{suffix}").rename(blobs / "b")
        (folder / f"s1{suffix}").symlink_to("../blobs/b")
        with pytest.raises(
            SourceError, match=rf"s1{suffix}: expected a file or folder, found a link .* --follow-links"
        ):
            open_source(folder)
        assert len(open_source(folder, follow_links=True).records) == 48


def candidate_form(name: str) -> str:
    return {"verification set": "bin", "compressed tar": "tar"}.get(name, name.split(",")[0].lower())


class TestLinks:
    @pytest.fixture
    def folder(self, items: list[Item], tmp_path: Path) -> Path:
        (tmp_path / "set").mkdir()
        return c.tarred(tmp_path / "set", items).parent

    def test_to_a_folder_elsewhere_may_hold_a_part(self, folder: Path, items: list[Item], tmp_path: Path) -> None:
        (tmp_path / "more").mkdir()
        c.tarred(tmp_path / "more", items)
        (folder / "more").symlink_to(tmp_path / "more")
        with pytest.raises(SourceError, match="set/more: expected a file or folder, found a link"):
            open_source(folder)
        assert len(open_source(folder, follow_links=True).records) == 48

    def test_to_a_file_of_the_folder_are_no_second_part(self, folder: Path) -> None:
        (folder / "again.tar").symlink_to("set.tar")
        (folder / "circle").symlink_to(".")
        for follow_links in (False, True):
            assert len(open_source(folder, follow_links=follow_links).records) == 24

    def test_to_nowhere_are_an_error(self, folder: Path) -> None:
        (folder / "again.tar").symlink_to("absent.tar")
        for follow_links in (False, True):
            with pytest.raises(SourceError, match=r"again\.tar"):
                open_source(folder, follow_links=follow_links)

    def test_of_other_names_are_counted(self, folder: Path, tmp_path: Path) -> None:
        (folder / "notes.txt").symlink_to(write(tmp_path / "elsewhere.txt", b"x"))
        assert "1 links are not followed: notes.txt; use --follow-links to change that" in open_source(folder).notes

    def test_alone_are_an_error(self, folder: Path, tmp_path: Path) -> None:
        """As the cache of a hub has them: every file is a link."""
        (tmp_path / "snapshot").mkdir()
        (tmp_path / "snapshot/set.tar").symlink_to("../set/set.tar")
        with pytest.raises(SourceError, match="--follow-links"):
            open_source(tmp_path / "snapshot")
        assert len(open_source(tmp_path / "snapshot", follow_links=True).records) == 24
        assert candidate_locations(str(tmp_path / "snapshot"), follow_links=True) == [str(tmp_path / "snapshot")]


class TestOtherFiles:
    def test_of_systems_locks_and_documents_are_no_part(self, written: Written, tmp_path: Path) -> None:
        shutil.copy(written("LMDB, msgpack"), tmp_path / "data.mdb")
        write(tmp_path / "lock.mdb", bytes(8192))
        write(tmp_path / "._data.mdb", b"\0\5\x16\7")
        write(tmp_path / "README.md", b"of the set")
        assert len(open_source(tmp_path).records) == 24

    def test_numbered_like_the_others_need_no_suffix(self, items: list[Item], tmp_path: Path) -> None:
        for k in range(2):
            shutil.move(c.tarred(tmp_path, items), tmp_path / f"part-{k:05d}-of-00003")
        assert len(open_source(tmp_path).records) == 48
        write(tmp_path / "part-00002-of-00003", b"")
        with pytest.raises(SourceError, match=r"part-00002-of-00003.*found an empty file"):
            open_source(tmp_path)

    def test_a_pipe_is_an_error_without_waiting(self, items: list[Item], tmp_path: Path) -> None:
        c.tarred(tmp_path, items)
        os.mkfifo(tmp_path / "b.tar")
        with pytest.raises(SourceError, match=r"b\.tar: a regular file was expected"):
            open_source(tmp_path)

    def test_a_pointer_beside_images_is_no_clutter(self, items: list[Item], tmp_path: Path) -> None:
        folder = c.folder(tmp_path, items)
        write(folder / "more.tar", POINTER)
        with pytest.raises(SourceError, match=r"more\.tar.*git lfs pull"):
            open_source(folder)
        source = open_source(f"folder:{folder}")
        assert [entry.name for entry in source.ignored] == ["more.tar"] and len(source.records) == 24

    def test_a_pointer_alone_is_no_list(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="git lfs pull"):
            open_source(write(tmp_path / "set.tar", POINTER))

    def test_beside_a_stated_form_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        folder = c.folder(tmp_path, items)
        c.tarred(folder, items)
        c.zipped(folder, items)
        write(folder / "README.md", b"of the set")
        notes = open_source(f"tar:{folder}").notes
        images = "24 image (000/00000000.png, 000/00000001.png, 000/00000002.png, ...)"
        assert f"beside the tar, files of other forms are not read as images: 1 zip (set.zip), {images}" in notes
        assert "beside the tar, files used for labels, indexes and masks at most: 1 text (README.md)" in notes

    def test_that_are_known_to_lie_there_are_counted(self, items: list[Item], tmp_path: Path) -> None:
        c.insightface(tmp_path, items)
        write(tmp_path / "lfw.bin", pickle.dumps(([items[0].data] * 2, [True])))
        assert (
            "beside the recordio, files of other forms are not read as images: 1 bin (lfw.bin)"
            in open_source(tmp_path).notes
        )


@pytest.mark.parametrize("first", ["containers", "images"])
def test_more_files_than_a_sample_are_in_doubt_like_few(first: str, items: list[Item], tmp_path: Path) -> None:
    tar = c.tarred(tmp_path, items[:1])
    folder = tmp_path / "set"
    names = [f"a/{k:04d}" for k in range(SAMPLE_FILES + 1)] + ["b/0", "b/1"]
    for name in names:
        is_container = (name[0] == "a") == (first == "containers")
        path = folder / f"{name}{'.tar' if is_container else '.png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(tar, path) if is_container else write(path, items[0].data)
    with pytest.raises(SourceError, match="it can be read in several ways"):
        open_source(folder)


def test_a_container_without_a_suffix_behind_a_sample_is_in_doubt(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "SAMPLE_FILES", 1)
    shutil.copy(c.tarred(tmp_path, items[:1]), write(tmp_path / "set/train-00000-of-00001", b""))
    for k in range(2):
        write(tmp_path / f"set/a{k}.png", items[0].data)
    with pytest.raises(SourceError, match="it can be read in several ways"):
        open_source(tmp_path / "set")


def test_people_who_are_numbered_in_each_file_are_apart(items: list[Item], tmp_path: Path) -> None:
    for name in ("lfw.bin", "agedb.bin"):
        data = pickle.dumps(([item.data for item in items[:4]], [True, True]), protocol=4)
        write(tmp_path / name, data)
    source = open_source(tmp_path)
    people = [record.person for record in source.records]
    assert people[0] == "agedb.bin/00000000" and people[4] == "lfw.bin/00000000" and len(set(people)) == 4
    assert any("whoever is in two files counts as two people" in note for note in source.notes)
    source = open_source(tmp_path, LabelRule("one-per-image"))
    assert len({record.person for record in source.records}) == 8


def test_labels_in_several_files_are_counted(items: list[Item], tmp_path: Path) -> None:
    for name, people in (("a.zip", "012"), ("b.zip", "234")):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for person in people:
                file.writestr(f"{person}/0.png", items[0].data)
                file.writestr(f"{person}/1.png", items[1].data)
    (note,) = [note for note in open_source(tmp_path).notes if "several files" in note]
    assert note.startswith("1 of 5 labels are in several files")


def sample(key: int, **members: bytes) -> dict[str, bytes]:
    return {f"{key}.{extension}": data for extension, data in members.items()}


@pytest.mark.parametrize(
    ("of_first", "n_people", "noted"),
    [
        # Equal numbers under two names: one name for all files, as if they were one.
        (lambda k, png: sample(k, png=png, cls=b"%d" % (k % 2)), 2, "people are those of json identity, not of cls"),
        # No label of one name is a label of the other.
        (lambda k, png: sample(k, png=png, cls=b"%d" % (k % 2 + 7)), 4, "cls in a.tar and json identity in b.tar"),
    ],
)
def test_one_name_states_the_people_of_all_files(
    of_first: Callable[[int, bytes], dict[str, bytes]], n_people: int, noted: str, items: list[Item], tmp_path: Path
) -> None:
    first = [of_first(k, items[k].data) for k in range(4)]
    identity = [b'{"identity": %d}' % (k // 2) for k in range(4)]
    second = [sample(k, png=items[k].data, cls=b"0", json=identity[k]) for k in range(4)]
    for name, samples in (("a", first), ("b", second)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for member, data in (pair for one in samples for pair in one.items()):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    source = open_source(tmp_path)
    people = [record.person for record in source.records]
    assert people[4:] == ["0", "0", "1", "1"] and len(set(people) - {None}) == n_people
    assert any(noted in note for note in source.notes)
    assert ("4 of 8 images have no label" in source.notes) is (n_people == 2)


def test_columns_of_people_with_equal_labels_are_an_error(items: list[Item], tmp_path: Path) -> None:
    images = [item.data for item in items[:4]]
    pq.write_table(pa.table({"image": images, "label": [0, 0, 1, 1]}), tmp_path / "a-0.parquet")
    table = {"image": images, "label": [0, 1, 0, 1], "identity": [0, 0, 1, 1]}
    pq.write_table(pa.table(table), tmp_path / "a-1.parquet")
    with pytest.raises(
        SourceError, match=r"found equal labels under label in a-0\.parquet and identity in a-1\.parquet"
    ):
        open_source(tmp_path)
    source = open_source(f"parquet,label=label:{tmp_path}")
    assert [record.person for record in source.records] == [*"0011", *"0101"]
    pq.write_table(pa.table({**table, "identity": ["Ann", "Ann", "Bo", "Bo"]}), tmp_path / "a-1.parquet")
    assert [record.person for record in open_source(tmp_path).records] == ["0", "0", "1", "1", "Ann", "Ann", "Bo", "Bo"]


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.TAR.gz", ".tar.gz"), ("a.b.zip", ".zip"), ("a", ""), (".tar", ".tar"), ("x.tar.", ".tar.")]
)
def test_suffixes(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        (
            ("t-00000-of-00003.zip", "t-00002-of-00003.zip"),
            "1 of 3 parts of the set that the names of the others state",
        ),
        (("t-1-of-2.zip", "t-2-of-2.zip"), None),
        (("t-00000-of-00002-a09b74b3ef9c3b56.zip", "t-00001-of-00002-b19b74b3ef9c3b57.zip"), None),
        (("t-00001-of-00003.zip",), "2 of 3 parts of the set that the names of the others state: t-00000-of-00003.zip"),
    ],
)
def test_parts_that_are_not_there_are_noted(names: tuple[str, ...], absent: str | None, tmp_path: Path) -> None:
    """One of several thousand may be all that somebody has, so it is no error."""
    for name in names:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.png", encoded(np.zeros((32, 32, 3), np.uint8)))
    places = [tmp_path, tmp_path / names[0]] if len(names) == 1 else [tmp_path]
    for place in places:
        notes = [note for note in open_source(place).notes if note.startswith("not there: ")]
        assert len(notes) == (absent is not None) and all(str(absent) in note for note in notes)
