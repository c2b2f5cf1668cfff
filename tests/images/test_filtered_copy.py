"""A container written again without some of its images: the others are there, with their people."""

from __future__ import annotations

import errno
import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import containers as c
from tests.builders import encoded, write
from tests.containers import WRITERS, drawn_items
from tests.images.conftest import Written
from unveil.errors import DiskFullError, SettingError, SourceError
from unveil.images import LabelRule, Source, decode_rgb, open_source, write_without
from unveil.io.folders import exclusive

WRITTEN = (
    "folder",
    "zip",
    "StyleGAN zip",
    "tar",
    "WebDataset",
    "RecordIO",
    "InsightFace",
    "DCFace",
    "TFRecord",
    "Parquet",
    "Arrow",
    "LMDB, msgpack",
    "LMDB, plain",
    "HDF5, raw",
    "HDF5, encoded",
)


def contents(source: Source, without: frozenset[str] = frozenset()) -> Counter[tuple[str, str | None]]:
    """Every image with its person, as often as it occurs."""
    return Counter(
        (hashlib.sha256(source.read(r)).hexdigest(), r.person) for r in source.records if r.id not in without
    )


@pytest.mark.parametrize("name", WRITTEN)
def test_same_container_without_some(tmp_path: Path, name: str, written: Written) -> None:
    source = open_source(written(name))
    # One person as a whole, and single images.
    removed = frozenset(record.id for i, record in enumerate(source.records) if i in (0, 1, 2, 10, 17, 23))
    out = write_without(source, tmp_path / "out", removed)
    copy = open_source(out)
    assert copy.kind.split()[0] == source.kind.split()[0] and str(copy.rule) == str(source.rule)
    assert len(copy.records) == 18 and contents(copy) == contents(source, removed)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("write failed: No space left")]
)
def test_a_full_disk_is_named(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """What writes into an open file, and what libraries raise, states no name."""

    def full(*_: object) -> None:
        raise error

    source = open_source(written("folder"))
    monkeypatch.setattr("unveil.images.filtered_copy.write_as_folder", full)
    monkeypatch.setattr("unveil.images.filtered_copy.WRITERS", {type(source): full})
    for as_folder in (False, True):
        with pytest.raises(DiskFullError, match=rf"^{tmp_path}: the disk is full"):
            write_without(source, tmp_path / "out", (), as_folder=as_folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_any_container_as_a_folder(tmp_path: Path, name: str, written: Written) -> None:
    source = open_source(written(name))
    removed = frozenset(record.id for record in source.records[:3])
    copy = open_source(write_without(source, tmp_path / "out", removed, as_folder=True))
    before = Counter(digest for digest, _ in contents(source, removed).elements())
    assert Counter(digest for digest, _ in contents(copy).elements()) == before and len(copy.records) == 21
    if any(record.person for record in source.records):
        assert {r.person for r in copy.records} == {r.person for r in source.records[3:]}


def test_a_list_and_labels_lose_their_lines(tmp_path: Path) -> None:
    items = drawn_items(6)
    for item in items:
        write(tmp_path / "in" / item.name, item.data)
    write(tmp_path / "in/list.txt", "# people\n" + "".join(f"{item.name}\tp{item.person}\n" for item in items))
    source = open_source(f"list:{tmp_path / 'in/list.txt'}")
    write_without(source, tmp_path / "out", {source.records[1].id})
    assert (tmp_path / "out/list.txt").read_text().splitlines() == [
        "# people",
        *(f"{i.name}\tp{i.person}" for i in items if i.number != 1),
    ]
    write(tmp_path / "style/a.png", items[0].data)
    write(tmp_path / "style/b.png", items[1].data)
    write(tmp_path / "style/dataset.json", json.dumps({"labels": [["a.png", 0], ["b.png", 1]]}))
    write_without(open_source(tmp_path / "style"), tmp_path / "out2", {"a.png"})
    assert json.loads((tmp_path / "out2/dataset.json").read_text()) == {"labels": [["b.png", 1]]}


@pytest.mark.parametrize("name", ["RecordIO", "TFRecord", "Parquet", "Arrow", "LMDB, msgpack", "HDF5, raw"])
def test_labels_beside_a_container_need_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    where = WRITERS[name](tmp_path / "in", drawn_items(4, each=2))
    (beside,) = {f.parent for f in (tmp_path / "in").rglob("*") if f.is_file() and "lock" not in f.name}
    ids = [record.id for record in open_source(where).records]
    (beside / "people.tsv").write_text("".join(f"{id}\tp{k}\n" for k, id in enumerate(ids)))
    source = open_source(where, LabelRule.parse("list:people.tsv"))
    with pytest.raises(SettingError, match=r"found them in people\.tsv beside it, which is not copied"):
        write_without(source, tmp_path / "out", {ids[0]})
    assert not (tmp_path / "out").exists()
    write_without(source, tmp_path / "out", {ids[0]}, as_folder=True)
    copy = open_source(tmp_path / "out")
    assert [record.person for record in copy.records] == ["p1", "p2", "p3"]


def test_a_folder_keeps_people_apart_and_makes_none(tmp_path: Path) -> None:
    people = ["a/b", "a:b", None, "c", "c"]
    images = [item.data for item in drawn_items(5)]
    pq.write_table(pa.table({"image": images, "person": people}), tmp_path / "x.parquet")
    copy = open_source(write_without(open_source(tmp_path / "x.parquet"), tmp_path / "out", (), as_folder=True))
    assert {copy.read(r): r.person for r in copy.records} == dict(
        zip(images, ["a_b", "a_b~2", None, "c", "c"], strict=True)
    )


def test_a_copy_removes_no_folder_of_the_user_and_waits_for_no_other(tmp_path: Path) -> None:
    items = drawn_items(3)
    for item in items:
        write(tmp_path / "in" / item.name, item.data)
    source = open_source(tmp_path / "in")
    removed = {source.records[0].id}
    write(tmp_path / ".out.tmp/mine.txt", "mine")
    unfinished = tmp_path / ".out.unveil-copy.tmp"
    with exclusive(unfinished), pytest.raises(SettingError, match="another unveil process"):
        write_without(source, tmp_path / "out", removed)
    write(unfinished / "half.png", "of a killed process")
    write_without(source, tmp_path / "out", removed)
    assert (tmp_path / ".out.tmp/mine.txt").read_text() == "mine" and not unfinished.exists()
    assert len(open_source(tmp_path / "out").records) == len(items) - 1
    unfinished.with_name(".new.unveil-copy.tmp").symlink_to(tmp_path / "in")
    with pytest.raises(SettingError, match="found a link"):
        write_without(source, tmp_path / "new", removed)
    assert len(open_source(tmp_path / "in").records) == len(items)


def test_names_from_strangers_stay_inside(tmp_path: Path) -> None:
    face = drawn_items(1)[0]
    for name in ("<img src=x>.png", "a b\u202e.png", "...png"):
        write(tmp_path / "in" / "..person" / name, face.data)
    source = open_source(tmp_path / "in", LabelRule("folder"))
    write_without(source, tmp_path / "out", set(), as_folder=True)
    files = [f for f in tmp_path.rglob("*") if f.is_file() and not f.is_relative_to(tmp_path / "in")]
    assert len(files) == 3 and all(f.is_relative_to(tmp_path / "out") for f in files)
    assert not [f for f in files if set("<>\u202e") & set(f.name)]


def test_a_container_without_a_writer_is_refused(tmp_path: Path, written: Written) -> None:
    source = open_source(written("verification set"))
    with pytest.raises(SettingError, match="read but not written; use --as-folder"):
        write_without(source, tmp_path / "out", set())
    (tmp_path / "there").mkdir()
    with pytest.raises(SettingError, match="exists already"):
        write_without(source, tmp_path / "there", set(), as_folder=True)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.tmp"))


def test_an_image_that_cannot_be_read_is_not_copied(tmp_path: Path) -> None:
    write(tmp_path / "in/a.png", encoded(drawn_items(1)[0].pixels))
    (tmp_path / "in/link.png").symlink_to("/etc/hostname")
    write_without(open_source(tmp_path / "in"), tmp_path / "out", set())
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["a.png"]


class TestMembersThatCannotBeRead:
    def test_of_a_zip(self, tmp_path: Path) -> None:
        items = drawn_items(3)
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for item in items:
                archive.writestr(f"{item.number}.png", item.data)
            archive.writestr("notes.txt", b"kept")
            archive.writestr("large.txt", b"\0" * 70_000_000, zipfile.ZIP_DEFLATED)
        raw = (tmp_path / "x.zip").read_bytes().replace(items[1].data, bytes(len(items[1].data)))
        source = open_source(write(tmp_path / "x.zip", raw))
        out = write_without(source, tmp_path / "out", {"0.png"})
        with zipfile.ZipFile(out / "x.zip") as archive:
            assert archive.namelist() == ["2.png", "notes.txt"]

    def test_of_a_tar_with_holes(self, tmp_path: Path) -> None:
        write(tmp_path / "in/a.png", drawn_items(1)[0].data)
        with (tmp_path / "in/holes").open("wb") as file:
            file.truncate(10_000_000)
            file.write(b"x")
        subprocess.run(["tar", "--sparse", "-cf", "x.tar", "in"], cwd=tmp_path, check=True)
        with pytest.raises(SourceError, match="files with holes; use --as-folder"):
            write_without(open_source(tmp_path / "x.tar"), tmp_path / "out", {"in/a.png"})


class TestRepeatedNames:
    """Records are paired by row: of two images with one name, the right one is removed."""

    def test_lists_lose_the_line_of_the_removed_image(self, tmp_path: Path) -> None:
        for item in drawn_items(2):
            write(tmp_path / f"in/{item.number}.png", item.data)
        source = open_source(write(tmp_path / "in/l.csv", "path,person\n0.png,a\n1.png,b\n0.png,c\n"))
        (second,) = (r.id for r in source.records if r.id.endswith("~2"))
        write_without(source, tmp_path / "out", {second})
        assert (tmp_path / "out/l.csv").read_text() == "path,person\n0.png,a\n1.png,b\n"

    def test_zips_keep_the_label_of_the_member_that_stays(self, tmp_path: Path) -> None:
        first, second, third = (item.data for item in drawn_items(3))
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name, data in (("a.png", first), ("a.png", second), ("b.png", third)):
                archive.writestr(name, data)
            archive.writestr("dataset.json", json.dumps({"labels": [["a.png", 3], ["b.png", 4]]}))
        source = open_source(tmp_path / "x.zip")
        assert [(r.id, r.person) for r in source.records] == [("a.png", "3"), ("a.png~2", "3"), ("b.png", "4")]
        copy = open_source(write_without(source, tmp_path / "out", {"a.png"}))
        assert [(copy.read(r), r.person) for r in copy.records] == [(second, "3"), (third, "4")]

    def test_shards_of_one_name_stay_in_their_folders(self, tmp_path: Path) -> None:
        items = drawn_items(6)
        for k, split in enumerate(("train", "test")):
            (tmp_path / f"in/{split}").mkdir(parents=True)
            WRITERS["zip"](tmp_path / f"in/{split}", items[3 * k : 3 * k + 3])
        source = open_source(tmp_path / "in")
        copy = open_source(write_without(source, tmp_path / "out", {source.records[0].id}))
        assert [r.id for r in copy.records] == [r.id for r in source.records[1:]]
        assert contents(copy) == contents(source, frozenset({source.records[0].id}))

    def test_names_that_differ_in_unsafe_characters_alone_are_two_files(self, tmp_path: Path) -> None:
        one, two = (item.data for item in drawn_items(2))
        write(tmp_path / "in/a:b.png", one)
        write(tmp_path / "in/a;b.png", two)
        copy = open_source(write_without(open_source(tmp_path / "in"), tmp_path / "out", set(), as_folder=True))
        assert {copy.read(r) for r in copy.records} == {one, two}

    def test_other_files_of_a_folder_are_copied(self, tmp_path: Path) -> None:
        write(tmp_path / "in/a.png", drawn_items(1)[0].data)
        write(tmp_path / "in/README.txt", "read me")
        write_without(open_source(tmp_path / "in"), tmp_path / "out", set())
        assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["README.txt", "a.png"]


PIXELS = np.stack([item.pixels for item in drawn_items(8, each=2)])
DATA = [item.data for item in drawn_items(8, each=2)]
REMOVED = {0, 5}
STAY = [k for k in range(8) if k not in REMOVED]


def copied(where: str | Path, out: Path) -> Path:
    """The copy of a container without the rows 0 and 5."""
    source = open_source(where)
    return write_without(source, out, {source.records[k].id for k in REMOVED})


def test_a_copy_of_splits_opens_in_datasets(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in DATA]})
    rows = rows.cast_column("image", datasets.Image())
    splits = {"train": rows.select(range(4)), "val": rows.select(range(4, 6)), "test": rows.select(range(6, 8))}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "x", num_shards=dict.fromkeys(splits, 2))
    source = open_source(tmp_path / "x")
    gone = {record.id for record in source.records if record.id.startswith("val/") or "train/data-00000" in record.id}
    copy = datasets.load_from_disk(write_without(source, tmp_path / "out", gone))
    images = {
        name: [row["bytes"] for row in split.cast_column("image", datasets.Image(decode=False))["image"]]
        for name, split in copy.items()
    }
    assert images == {"train": DATA[2:4], "test": DATA[6:8]}
    # By its fingerprint, `datasets` finds what it stored of the rows that are gone.
    saved = datasets.load_from_disk(tmp_path / "x")
    assert copy["train"]._fingerprint != saved["train"]._fingerprint


class TestLMDB:
    """The copy, read by the C library and as each dialect is read."""

    def values(self, path: Path, name: bytes | None = None) -> dict[bytes, bytes]:
        with lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=1) as environment:
            database = environment.open_db(name, create=False)
            with environment.begin(db=database) as transaction:
                return {bytes(key): bytes(value) for key, value in transaction.cursor()}

    @pytest.mark.parametrize("keys", [list, lambda keys: [key.decode() for key in keys]], ids=["bytes", "text"])
    @pytest.mark.parametrize("first", [0, 1])
    def test_keys_that_are_numbers_stay_consecutive(
        self, keys: Callable[[list[bytes]], list[bytes]], first: int, tmp_path: Path
    ) -> None:
        packed = {f"{k + first}".encode(): msgpack.packb((data, k // 2)) for k, data in enumerate(DATA)}
        metadata = {b"__keys__": msgpack.packb(keys(list(packed))), b"__len__": msgpack.packb(8)}
        c.write_lmdb(tmp_path / "x.lmdb", packed | metadata | {b"__classnum__": msgpack.packb(4)}, subdir=False)
        values = self.values(copied(tmp_path / "x.lmdb", tmp_path / "out") / "x.lmdb")
        new = [f"{k + first}".encode() for k in range(6)]
        assert msgpack.unpackb(values[b"__len__"]) == 6 and msgpack.unpackb(values[b"__classnum__"]) == 4
        assert msgpack.unpackb(values[b"__keys__"]) == keys(new)
        assert [tuple(msgpack.unpackb(values[key])) for key in new] == [(DATA[k], k // 2) for k in STAY]
        assert len(values) == 9

    def test_a_count_of_keys_counts_keys_without_gaps(self, tmp_path: Path) -> None:
        """Programs that read such a count make the keys up to it by themselves."""
        entries = {f"image-{k:09d}".encode(): data for k, data in enumerate(DATA, 1)}
        c.write_lmdb(tmp_path / "x", entries | {b"num-samples": b"8"})
        values = self.values(copied(tmp_path / "x", tmp_path / "out") / "data.mdb")
        assert values.pop(b"num-samples") == b"6"
        assert values == {f"image-{n:09d}".encode(): DATA[k] for n, k in enumerate(STAY, 1)}
        c.write_lmdb(tmp_path / "y", entries | {b"num-samples": b"8", b"label-000000001": DATA[0]})
        with pytest.raises(SettingError, match="found others; use --as-folder"):
            copied(tmp_path / "y", tmp_path / "other")

    def test_every_resolution_of_an_image_is_removed(self, tmp_path: Path) -> None:
        of = {128: DATA, 64: [encoded(decode_rgb(data)[::2, ::2]) for data in DATA]}
        entries = {f"{size}-{k:05d}".encode(): data for size in (64, 128) for k, data in enumerate(of[size])}
        c.write_lmdb(tmp_path / "x", entries | {b"length": b"8"})
        values = self.values(copied(tmp_path / "x", tmp_path / "out") / "data.mdb")
        expected = {f"{size}-{n:05d}".encode(): of[size][k] for size in (64, 128) for n, k in enumerate(STAY)}
        assert values == expected | {b"length": b"6"}

    def test_other_keys_do_not_change(self, tmp_path: Path) -> None:
        entries = {hashlib.sha1(data).hexdigest().encode(): data for data in DATA}  # noqa: S324 (as LSUN has them)
        c.write_lmdb(tmp_path / "x", entries)
        values = self.values(copied(tmp_path / "x", tmp_path / "out") / "data.mdb")
        assert list(values.items()) == [item for k, item in enumerate(sorted(entries.items())) if k in STAY]

    def test_a_named_database_and_a_mask(self, tmp_path: Path) -> None:
        with lmdb.open(str(tmp_path / "x.mdb"), map_size=2**26, subdir=False, max_dbs=1) as environment:
            database = environment.open_db(b"images")
            with environment.begin(write=True, db=database) as transaction:
                for k, data in enumerate(DATA):
                    transaction.put(f"{k:03d}".encode(), data)
        values = self.values(copied(tmp_path / "x.mdb", tmp_path / "out") / "x.mdb", b"images")
        assert values == {f"{n:03d}".encode(): DATA[k] for n, k in enumerate(STAY)}
        np.save(tmp_path / "mask.npy", np.arange(1, 8))
        masked = copied(f"lmdb,mask=mask.npy:{tmp_path / 'x.mdb'}", tmp_path / "masked")
        assert list(self.values(masked / "x.mdb", b"images").values()) == [DATA[k] for k in (2, 3, 4, 5, 7)]

    @pytest.mark.parametrize("key", ["__keys__", "__len__"])
    def test_metadata_in_another_form_are_refused(self, key: str, tmp_path: Path) -> None:
        c.write_lmdb(tmp_path / "x", {b"0": DATA[0], b"1": DATA[1], key.encode(): b"\x80\x04]."})
        source = open_source(tmp_path / "x")
        with pytest.raises(SettingError, match=f"expected in {key}, got .*use --as-folder"):
            write_without(source, tmp_path / "out", {"0"})
        assert [f.name for f in tmp_path.iterdir()] == ["x"]

    def test_values_that_overlap_are_not_repeated(self, tmp_path: Path) -> None:
        """A small file whose keys all name one large value would be copied into a large one."""
        c.write_lmdb(tmp_path / "x.mdb", {f"{k:04d}".encode(): b"x" * 100_000 for k in range(20)}, subdir=False)
        raw = bytearray((tmp_path / "x.mdb").read_bytes())
        source = open_source(tmp_path / "x.mdb")
        first = int(source.records[0].key.split()[0]) // 4096
        for record in source.records[1:]:
            page = struct.pack("<Q", int(record.key.split()[0]) // 4096)
            at = raw.index(record.id.encode() + page)
            raw[at + 4 : at + 12] = struct.pack("<Q", first)
        path = write(tmp_path / "y/y.mdb", bytes(raw[: (first + 30) * 4096]))
        with pytest.raises(SourceError, match="its values overlap"):
            write_without(open_source(path), tmp_path / "out", set())


class TestHDF5:
    """The copy, read by h5py."""

    def test_rows_of_every_dataset_beside_the_images(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
            file.create_dataset("images", data=PIXELS, chunks=(3, 48, 96, 3), compression="gzip", shuffle=True)
            file.create_dataset("label", data=np.arange(8) // 2, fletcher32=True)
            file["pose"] = np.arange(16.0).reshape(8, 2)
            file["smiles"] = np.arange(8) % 2 == 0
            file.create_dataset("name", data=[f"é{k}" for k in range(8)], dtype=h5py.string_dtype())
            file.create_dataset("code", data=[f"é{k}".encode() for k in range(8)], dtype=h5py.string_dtype("utf-8", 4))
            file["pair"] = np.array([(k, k / 2) for k in range(8)], [("a", "<i4"), ("b", "<f8")])
            file["classes"], file["mean"] = [b"anna", b"bo", b"cy"], 0.5
            file["title"] = "drawn"
            file["images"].attrs["order"] = "RGB"
            file.attrs["version"] = [1, 2]
            file.create_group("empty")
        with (tmp_path / "x.h5").open("r+b") as raw:
            raw.write(b"MATLAB 7.3")
        path = copied(tmp_path / "x.h5", tmp_path / "out") / "x.h5"
        assert path.read_bytes()[:12] == b"MATLAB 7.3\0\0"
        with h5py.File(tmp_path / "x.h5") as old, h5py.File(path) as new:
            assert sorted(new) == sorted(old)
            for name, dataset in old.items():
                if isinstance(dataset, h5py.Group):
                    continue
                whole = name in ("classes", "mean", "title")
                expected = dataset[()] if whole else dataset[STAY]
                assert np.array_equal(new[name][()], expected) and new[name].dtype == dataset.dtype, name
                assert (new[name].compression, new[name].shuffle, new[name].fletcher32) == (
                    *(dataset.compression, dataset.shuffle, dataset.fletcher32),
                )
            assert new["images"].chunks == (3, 48, 96, 3) and new["images"].attrs["order"] == "RGB"
            assert list(new.attrs["version"]) == [1, 2]

    def test_another_split_is_copied_whole(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for split in ("train", "test"):
                file[f"{split}/images"], file[f"{split}/labels"] = PIXELS, np.arange(8) // 2
        out = copied(f"hdf5,image=train/images:{tmp_path / 'x.h5'}", tmp_path / "out")
        with h5py.File(out / "x.h5") as new:
            assert np.array_equal(new["train/images"], PIXELS[STAY]) and list(new["train/labels"]) == [0, 1, 1, 2, 3, 3]
            assert np.array_equal(new["test/images"], PIXELS) and len(new["test/labels"]) == 8

    def test_an_image_that_cannot_be_read_leaves_with_its_label(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            images = file.create_dataset("images", PIXELS.shape, np.uint8, chunks=(1, 96, 96, 3))
            for k in (0, 1, 2, 4, 5, 6, 7):
                images[k] = PIXELS[k]
            file["labels"] = np.arange(8)
        with h5py.File(copied(tmp_path / "x.h5", tmp_path / "out") / "x.h5") as new:
            assert list(new["labels"]) == [1, 2, 4, 6, 7]

    def test_what_h5py_would_have_to_point_to_is_refused(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"] = PIXELS
            file["links"] = np.array([file["images"].ref] * 8, h5py.ref_dtype)
        with pytest.raises(SettingError, match=r"the dataset links is not written \(values of type Reference\)"):
            copied(tmp_path / "x.h5", tmp_path / "out")
        with h5py.File(tmp_path / "y.h5", "w") as file:
            file["images"] = PIXELS
            file["again"] = file["images"]
        with pytest.raises(SourceError, match="its datasets share bytes"):
            copied(f"hdf5,image=images:{tmp_path / 'y.h5'}", tmp_path / "out")


def test_a_writer_that_is_not_installed_is_named(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in (("LMDB, plain", "lmdb"), ("HDF5, raw", "h5py")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(SettingError, match=rf"through {module}; pip install 'unveil\[copy\]'"):
            write_without(open_source(written(name)), tmp_path / "out", set())


def test_columns_that_the_user_named_are_used_to_check_the_copy(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": DATA, "b": DATA[::-1], "label": list(range(8))}), tmp_path / "x.parquet")
    out = copied(f"parquet,image=b:{tmp_path / 'x.parquet'}", tmp_path / "out")
    assert pq.read_table(out / "x.parquet")["label"].to_pylist() == STAY
