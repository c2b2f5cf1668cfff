"""Each reader with and without its side files, on files by other writers, and on files that lie."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import lmdb
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import containers as c
from tests.builders import drawn_faces, encoded, write
from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import Source, decode_rgb, open_source, write_without
from unveil.images.blob import LocalBlob
from unveil.images.readers.arrow import ArrowTable
from unveil.images.readers.hdf5 import contents_of
from unveil.images.readers.parquet import ParquetSource
from unveil.images.readers.tf_example import parse_example
from unveil.presets import resolve

FACES = np.stack(list(drawn_faces(8, 6)))
DATA = [encoded(face) for face in FACES]
LABELS = [k // 2 for k in range(8)]
PEOPLE = [str(label) for label in LABELS]


def people(source: Source) -> list[str | None]:
    return [record.person for record in source.records]


def check(source: Source, expected: list[str] | None = PEOPLE) -> None:
    assert len(source.records) == 8
    for k, record in enumerate(source.records):
        assert np.array_equal(decode_rgb(source.read(record)), FACES[k])
    assert people(source) == ([None] * 8 if expected is None else expected)


class TestTFRecord:
    def test_labels_in_the_examples_alone(self, tmp_path: Path) -> None:
        examples = [
            c.example({"image/encoded": d, "image/class/label": [k]}) for d, k in zip(DATA, LABELS, strict=True)
        ]
        check(open_source(c.write_tfrecords(tmp_path / "x.tfrecord", examples)))
        check(open_source(c.write_tfrecords(tmp_path / "faces-r06.tfrecords", examples)))

    def test_no_labels_at_all(self, tmp_path: Path) -> None:
        examples = [c.example({"image": data}) for data in DATA]
        check(open_source(c.write_tfrecords(tmp_path / "x.tfrecord", examples)), None)

    def test_labels_as_text_and_a_damaged_example(self, tmp_path: Path) -> None:
        examples = [c.example({"image": data, "label": f"p{k}".encode()}) for data, k in zip(DATA, LABELS, strict=True)]
        examples[3] = examples[3][:-5]
        source = open_source(c.write_tfrecords(tmp_path / "x.tfrecord", examples))
        assert people(source) == ["p0", "p0", "p1", None, "p2", "p2", "p3", "p3"]
        with pytest.raises(ImageError, match="damaged record"):
            source.read(source.records[3])

    def test_an_example_is_read_as_its_definition_says(self) -> None:
        message, varint = c.message, c.varint
        floats = message(2, message(1, struct.pack("<2f", 0.5, 2.0)))
        unpacked = message(3, b"\x08" + varint(5) + b"\x08" + varint(2**64 - 1))
        entries = [(b"f", floats), (b"n\xff", unpacked), (b"none", b""), (b"twice", message(1, message(1, b"a")))]

        def data() -> bytes:
            return message(1, b"".join(message(1, message(1, name) + message(2, value)) for name, value in entries))

        assert parse_example(data()) == {"f": [0.5, 2.0], r"n\xff": [5, -1], "twice": b"a"}
        assert parse_example(b"") == {}
        entries.append((b"twice", message(1, message(1, b"b"))))
        with pytest.raises(ImageError, match="two features are called twice"):
            parse_example(data())
        with pytest.raises(ImageError, match=r"several images in the record: a tf\.train\.SequenceExample"):
            parse_example(message(1, b"") + message(2, message(1, b"")))

    @pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x7f", b"\x0a\x05ab", b"\x0b" * 1000])
    def test_a_message_that_lies_is_a_reject(self, data: bytes) -> None:
        with pytest.raises(ImageError, match=r"no tf\.train\.Example"):
            parse_example(data)


class TestTar:
    def add(self, archive: tarfile.TarFile, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))

    def half(self, path: Path, numbers: range) -> Path:
        with tarfile.open(path, "w") as archive:
            for k in numbers:
                self.add(archive, f"{LABELS[k]}/{k}.png", DATA[k])
        return path

    def test_concatenated_and_appended(self, tmp_path: Path) -> None:
        first, second = self.half(tmp_path / "a", range(4)), self.half(tmp_path / "b", range(4, 8))
        check(open_source(write(tmp_path / "both.tar", first.read_bytes() + second.read_bytes())))
        check(open_source(write(tmp_path / "padded.tar", first.read_bytes() + b"\0" * 40960 + second.read_bytes())))
        for between in (bytes(2**21), b"signature".ljust(512, b" ")):
            hidden = write(tmp_path / "hidden.tar", first.read_bytes() + between + second.read_bytes())
            with pytest.raises(SourceError, match="found more bytes"):
                open_source(hidden)
        assert len(open_source(write(tmp_path / "zeros.tar", first.read_bytes() + bytes(2**21))).records) == 4
        with tarfile.open(first, "a") as archive:
            for k in range(4, 8):
                self.add(archive, f"{LABELS[k]}/{k}.png", DATA[k])
        check(open_source(first))
        check(open_source(write(tmp_path / "tail.tar", first.read_bytes() + b"signature".ljust(512))))

    @pytest.mark.parametrize(
        ("members", "note"),
        [
            ({"cls": b"%s", "json": b'{"label": 9}'}, "people are those of cls, not of json label"),
            ({"json": b'{"label": %s, "key": "000"}'}, ""),
            ({"label": b"%s", "id": b"9"}, "people are those of label, not of id"),
            ({"id": b"%s", "txt": b"a caption"}, "people are those of id, which may be something of the images"),
            ({"cls": b"-1", "json": b'{"person": %s}'}, ""),
            ({"cls": b"1", "json": b'{"identity": "%s"}'}, "people are those of json identity, not of cls"),
            ({"id": b"%k", "json": b'{"label": %s}'}, "people are those of json label, not of id"),
        ],
    )
    def test_labels_of_samples_have_a_priority(self, members: dict[str, bytes], note: str, tmp_path: Path) -> None:
        """One name states the people of a whole set: numbers of two names would make two people one."""
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for k in range(8):
                for extension, data in [*members.items(), ("png", DATA[k])]:
                    filled = data if extension == "png" else data.replace(b"%s", b"%d" % LABELS[k])
                    filled = filled if extension == "png" else filled.replace(b"%k", b"%d" % k)
                    self.add(archive, f"{k:04d}.{extension}", filled)
        source = open_source(tmp_path / "x.tar")
        check(source)
        assert source.kind == "WebDataset" and not source.ignored
        assert [n for n in source.notes if n.startswith("people are those of")] == ([note] if note else [])

    def test_stored_labels_that_are_not_the_folders_are_noted(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for k in range(8):
                for extension, data in (("cls", b"%d" % (k % 2)), ("png", DATA[k])):
                    self.add(archive, f"p{LABELS[k]}/{k:04d}.{extension}", data)
        assert any("and not the 4 folders, which sort the" in note for note in open_source(tmp_path / "x.tar").notes)

    def test_samples_of_img2dataset_without_labels(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for k, data in enumerate(DATA):
                fields = {
                    "url": f"https://example.org/{k}",
                    "key": f"{k:09d}",
                    "caption": "a face",
                    "status": "success",
                }
                for extension, content in (("json", json.dumps(fields).encode()), ("png", data), ("txt", b"a face")):
                    self.add(archive, f"{k:09d}.{extension}", content)
        check(open_source(tmp_path / "x.tar"), None)

    @pytest.mark.parametrize("size", [b"-0000001000\0", b"\xff" * 12, b"zzzzzzzzzzz\0"])
    def test_a_size_that_is_none_is_said(self, size: bytes, tmp_path: Path) -> None:
        head = bytearray(512)
        head[:7], head[124:136], head[156:157], head[257:263] = b"a/x.jpg", size, b"0", b"ustar\0"
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        path = write(tmp_path / "x.tar", bytes(head) + b"\0" * 1024)
        with pytest.raises(SourceError, match="no size at byte 124"):
            open_source(path)


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (1, 96, 96, 3)},
    "gzip": {"chunks": (3, 96, 96, 3), "compression": "gzip"},
}


class TestHDF5:
    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    @pytest.mark.parametrize("block", [0, 512, 4096])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_user_block_and_versions(self, layout: str, block: int, libver: str, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.mat", "w", userblock_size=block, libver=libver) as file:
            file.create_dataset("images", data=FACES, **LAYOUTS[layout])
            file["labels"] = LABELS
            rows = file.create_dataset("other/texts", (8,), dtype=h5py.string_dtype())
            rows[:] = PEOPLE
        if libver == "latest" and layout != "contiguous":
            # pyfive does not read the newer indices of chunks; that is said, and nothing is called damaged.
            with pytest.raises(SourceError, match="images is stored in a way that is not supported"):
                open_source(tmp_path / "x.mat")
            return
        check(open_source(tmp_path / "x.mat"))
        check(open_source(f"hdf5,label=labels:{tmp_path / 'x.mat'}"))

    def test_several_splits_in_one_file(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for split, faces, labels in (("train", FACES, LABELS), ("test", FACES[::-1], LABELS[::-1])):
                file[f"{split}/images"], file[f"{split}/labels"] = faces, labels
        with pytest.raises(SourceError, match="may be test/images or train/images; say which, as in image=test/images"):
            open_source(tmp_path / "x.h5")
        check(open_source(f"hdf5,image=train/images:{tmp_path / 'x.h5'}"))

    def test_groups_that_contain_each_other_are_listed_once(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["a/images"], file["a/labels"] = FACES, LABELS
            for name in ("root", "a/root", "b/root"):
                file[name] = file["/"]
            file["a/b"], file["b/a"], file["b/again"] = file["b"], file["a"], file["a"]
        source = open_source(tmp_path / "x.h5")
        check(source)
        assert len(contents_of(LocalBlob(tmp_path / "x.h5")).tables) == 2

    def test_a_label_too_long_is_not_read(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"] = FACES
            rows = file.create_dataset("labels", (8,), dtype=h5py.string_dtype())
            rows[:] = ["A" * 2**20, *PEOPLE[1:]]
        assert people(open_source(f"hdf5,image=images:{tmp_path / 'x.h5'}")) == [None, *PEOPLE[1:]]

    def test_one_long_label_in_every_row_takes_its_memory_once(self, tmp_path: Path) -> None:
        label = "é" * 2000
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"] = FACES
            rows = file.create_dataset("labels", (8,), dtype=h5py.string_dtype())
            rows[:] = [label] * 8
        pq.write_table(pa.table({"image": DATA, "label": [label] * 8}), tmp_path / "x.parquet", row_group_size=3)
        for name in ("x.h5", "x.parquet"):
            found = people(open_source(tmp_path / name))
            assert found == [label] * 8 and len({id(person) for person in found}) == 1

    def test_labels_of_a_fixed_length_in_ascii_and_utf8(self, tmp_path: Path) -> None:
        for kind, names in (("utf-8", ["é0", "é1", "", "Ωmega"]), ("ascii", ["a", "bo", "", "cy"])):
            path = tmp_path / f"{kind}.h5"
            with h5py.File(path, "w") as file:
                file["images"] = FACES[:4]
                file["label"] = np.array([name.encode() for name in names], h5py.string_dtype(kind, 7))
            assert people(open_source(path)) == [name or None for name in names]

    def test_what_is_not_an_image_or_a_label_is_not_damaged(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"], file["labels"] = FACES, LABELS
            file["nothing"] = h5py.Empty("f4")
            file["references"] = np.array([file["images"].ref] * 8, h5py.ref_dtype)
            file["landmarks"] = np.zeros((8, 5, 2))
            file["split"] = [b"train"] * 8
            ragged = file.create_dataset("ragged", (8,), dtype=h5py.vlen_dtype(np.float32))
            ragged[0] = [1.0, 2.0]
            file["arrays"] = np.zeros(8, [("a", "f4", (3,))])
            file["link"] = h5py.SoftLink("/gone")
            file["group/outside"] = h5py.ExternalLink("other.h5", "/images")
        with pytest.raises(SourceError, match=r"arrays is stored .* or name the dataset to read, as in image="):
            open_source(tmp_path / "x.h5")
        source = open_source(f"hdf5,image=images:{tmp_path / 'x.h5'}")
        check(source)
        for name in ("nothing", "arrays", "group"):
            assert any(
                note.startswith(f"the dataset {name} is stored in a way that is not supp") for note in source.notes
            )
        with pytest.raises(SourceError, match="nothing is stored in a way that is not supported"):
            open_source(f"hdf5,image=images,label=nothing:{tmp_path / 'x.h5'}")
        with pytest.raises(SettingError, match=r"stored in a way that is not supported .* use --as-folder"):
            write_without(source, tmp_path / "out", set())

    @pytest.mark.parametrize("order", [(0, 3, 2, 1), (0, 1, 2, 3), (0, 2, 1)])
    def test_what_matlab_writes_stands_upright(self, order: tuple[int, ...], tmp_path: Path) -> None:
        """MATLAB reverses dimensions: X of (H, W, 3, N), (H, W, N), or (3, W, H, N), which is made for Python."""
        upright = (
            np.stack([face[:64] for face in FACES]) if len(order) == 4 else np.stack([f[:64, :, 0] for f in FACES])
        )
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["X"] = upright.transpose(order)
            file["X"].attrs["MATLAB_class"] = np.bytes_("uint8")
        source = open_source(f"hdf5,image=X:{tmp_path / 'x.h5'}")
        found = [decode_rgb(source.read(record)) for record in source.records]
        expected = upright if len(order) == 4 else np.repeat(upright[..., None], 3, 3)
        assert np.array_equal(found, expected)
        note = "the sides of the images in X are exchanged, as MATLAB writes them"
        assert (note in source.notes) == (order != (0, 1, 2, 3))

    def test_images_along_the_last_dimension_are_asked_for(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["X"] = np.zeros((40, 40, 70), np.uint8)
        with pytest.raises(SourceError, match=r"may be 70 images of 40 x 40 pixels\. Write them as \(70, 40, 40\)"):
            open_source(tmp_path / "x.h5")
        assert len(open_source(f"hdf5,image=X:{tmp_path / 'x.h5'}").records) == 40

    def test_a_file_without_images_says_what_was_expected(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for k in range(7):
                file[f"data{k}"] = np.zeros((2, 3, 8, 8, 3), np.float32)
        with pytest.raises(
            SourceError, match=r"found data0 \(2 x 3 x 8 x 8 x 3 float32\), .* and 2 more\. Write them so"
        ):
            open_source(tmp_path / "x.h5")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for k in range(500):
                file[f"p{k:03d}/img"] = FACES
        with pytest.raises(SourceError, match=r"may be p000/img or .* or 495 more; say which") as caught:
            open_source(tmp_path / "x.h5")
        assert len(str(caught.value)) < 400

    def test_images_that_lie_in_another_file_are_an_error(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["images"] = FACES
        layout = h5py.VirtualLayout(FACES.shape, np.uint8)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "images", FACES.shape)
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"] = FACES
            file.create_virtual_dataset("more", layout)
        with pytest.raises(SourceError, match="may be images or more: each holds images"):
            open_source(tmp_path / "x.h5")
        assert len(open_source(f"hdf5,image=images:{tmp_path / 'x.h5'}").records) == len(FACES)

    def test_a_link_to_another_file_in_the_root(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
            file["images"] = FACES
            file["outside"] = h5py.ExternalLink("other.h5", "/images")
        with pytest.raises(SourceError, match=r"x\.h5: expected datasets .* found a link to another file"):
            open_source(tmp_path / "x.h5")


class TestLMDB:
    def write(self, path: Path, names: list[bytes], plain: bool) -> Path:
        with lmdb.open(str(path), map_size=2**26, subdir=False, max_dbs=4) as env:
            for name in names:
                database = env.open_db(name)
                with env.begin(write=True, db=database) as transaction:
                    for k, data in enumerate(DATA):
                        transaction.put(f"{k}".encode(), data)
            if plain:
                with env.begin(write=True) as transaction:
                    transaction.put(b"length", b"8")
                    transaction.put(b"other", b"x")
        return path

    def test_one_named_database_is_read(self, tmp_path: Path) -> None:
        check(open_source(self.write(tmp_path / "a.mdb", [b"images"], False)), None)

    @pytest.mark.parametrize("mask", [[0, 0, 1, 1, 0, 1, 0, 0], [5, 2, 3, 3]])
    def test_a_mask_selects_images(self, mask: list[int], tmp_path: Path) -> None:
        packed = [msgpack.dumps((data, label)) for data, label in zip(DATA, LABELS, strict=True)]
        c.write_lmdb(tmp_path / "x.lmdb", {str(k).encode(): value for k, value in enumerate(packed)}, subdir=False)
        np.save(tmp_path / "mask.npy", np.array(mask, bool if len(mask) == 8 else int))
        for name in ("lmdb", "hsface"):
            location, _ = resolve(f"{name},mask=mask.npy:{tmp_path / 'x.lmdb'}")
            source = open_source(location)
            assert [(r.id, r.person) for r in source.records] == [("2", "1"), ("3", "1"), ("5", "2")]
            assert [source.read(r) for r in source.records] == [DATA[k] for k in (2, 3, 5)]
            assert "of 8 images, the mask mask.npy selects 3" in source.notes

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (np.ones(7, bool), "one truth value for each of the 8 images"),
            (np.array([8]), "got shape"),
            (np.array([-1]), "got shape"),
            (np.zeros(8, bool), "selects no image"),
            (np.ones((8, 1), bool), "got shape"),
            (np.ones(8, np.float32), "got shape"),
        ],
    )
    def test_a_mask_that_does_not_fit_is_refused(self, mask: np.ndarray, message: str, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.mdb", [b"images"], False)
        np.save(tmp_path / "m.npy", mask)
        with pytest.raises(SourceError, match=message):
            open_source(f"lmdb,mask=m.npy:{path}")
        for other in ("none.npy", "../m.npy"):
            with pytest.raises(SourceError, match="no file"):
                open_source(f"lmdb,mask={other}:{path}")
        write(tmp_path / "m.npy", b"no array")
        with pytest.raises(SourceError, match="a NumPy array was expected"):
            open_source(f"lmdb,mask=m.npy:{path}")

    @pytest.mark.parametrize(("names", "plain"), [([b"images", b"masks"], False), ([b"images"], True)])
    def test_several_databases_are_named(self, names: list[bytes], plain: bool, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="it has the named databases images"):
            open_source(self.write(tmp_path / "a.mdb", names, plain))

    def test_several_values_a_key_are_named(self, tmp_path: Path) -> None:
        with lmdb.open(str(tmp_path / "a.mdb"), map_size=2**26, subdir=False, max_dbs=4) as env:
            database = env.open_db(b"images", dupsort=True)
            with env.begin(write=True, db=database) as transaction:
                transaction.put(b"0", b"a")
                transaction.put(b"0", b"b")
        with pytest.raises(SourceError, match="several values a key"):
            open_source(tmp_path / "a.mdb")


def test_a_zip_with_backslashes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for k, data in enumerate(DATA):
            info = zipfile.ZipInfo()
            info.filename = f"{LABELS[k]}\\{k}.png"
            archive.writestr(info, data)
    source = open_source(tmp_path / "x.zip")
    check(source)
    assert source.records[0].id == "0/0.png"


def test_members_of_a_zip_that_are_named_like_folders_are_files_when_they_have_bytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.png", "b.png\\", "c.png/"):
            archive.writestr(zipfile.ZipInfo(name), DATA[0])
        archive.writestr(zipfile.ZipInfo("folder/"), b"")
    source = open_source(tmp_path / "x.zip")
    assert [record.id for record in source.records] == ["a.png", "b.png", "c.png"]
    assert all(source.read(record) == DATA[0] for record in source.records)
    copy = open_source(write_without(source, tmp_path / "out", {"a.png"}))
    assert [record.id for record in copy.records] == ["b.png", "c.png"]


def test_one_image_that_a_pickle_names_often_is_hashed_once(tmp_path: Path) -> None:
    image, n = b"\xff\xd8\xff" + b"x" * 2**20, 100_000
    head = b"\x80\x03](B" + struct.pack("<I", len(image)) + image + b"q\x01" + b"h\x01" * (n - 1) + b"e"
    path = write(tmp_path / "a.bin", head + b"](" + b"\x89" * (n // 2) + b"e\x86.")
    start = time.monotonic()
    source = open_source(path)
    # Hashing every reference would take 100 GB of SHA-256: a minute and more.
    assert time.monotonic() - start < 30
    assert len(source.records) == n and len(set(people(source))) == 1
    assert pickle.loads(path.read_bytes())[1] == [False] * (n // 2)


class TestSmallFilesThatUnpackToLargeOnes:
    def test_a_dictionary_that_repeats_one_value(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        n = 4000
        values = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([b"\0" * 2**20], pa.binary()))
        path = tmp_path / "x.parquet"
        with pq.ParquetWriter(
            path, pa.schema([("image", values.type)]), compression="zstd", store_schema=False
        ) as writer:
            writer.add_key_value_metadata({"padding": os.urandom(n).hex()})  # a row has at least a byte of the file
            writer.write_table(pa.table({"image": values}))
        assert path.stat().st_size < 20_000 and pq.ParquetFile(path).metadata.row_group(0).total_byte_size < 2**21
        source = open_source(path)
        assert isinstance(source, ParquetSource)
        column = Mock(wraps=source._table.column)
        monkeypatch.setattr(source._table, "column", column)
        for record in source.records[:50]:
            with pytest.raises(ImageError, match="row group too large: more than 26"):
                source.read(record)
        column.assert_called_once()

    @pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
    def test_compressed_batches(self, new: Any, tmp_path: Path) -> None:
        schema = pa.schema([("image", pa.binary())])
        for codec in ("zstd", None):
            options = pa.ipc.IpcWriteOptions(compression=codec)
            with new(str(tmp_path / f"{codec}.arrow"), schema, options=options) as writer:
                for _ in range(6):
                    writer.write_batch(pa.record_batch([pa.array([b"\0" * 2**20])], schema=schema))
        assert (tmp_path / "zstd.arrow").stat().st_size < 20_000
        with pytest.raises(SourceError, match="bytes unpacked, at most 3145728 are"):
            ArrowTable(LocalBlob(tmp_path / "zstd.arrow"), max_unpacked=3 * 2**20)
        assert len(ArrowTable(LocalBlob(tmp_path / "zstd.arrow"), max_unpacked=7 * 2**20).groups) == 6
        # Without compression nothing is allocated: the batches stay mapped.
        assert len(ArrowTable(LocalBlob(tmp_path / "None.arrow"), max_unpacked=2**16).groups) == 6


def test_a_listed_or_packed_path_too_long_for_the_system(tmp_path: Path) -> None:
    name = "/".join(["d" * 200] * 25) + "/x.png"
    write(tmp_path / "a.png", DATA[0])
    source = open_source(write(tmp_path / "list.txt", f"a.png\n{name}\n"))
    assert source.read(source.records[0]) == DATA[0]
    with pytest.raises(ImageError, match=r"unreadable file: .*too long"):
        source.read(source.records[1])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, DATA[1])
    packed = open_source(tmp_path / "x.zip")
    assert packed.records[0].id == name and packed.read(packed.records[0]) == DATA[1]


def test_a_path_too_long_for_the_system_is_a_reject(tmp_path: Path) -> None:
    write(tmp_path / "a.png", DATA[0])
    part = "d" * 200
    with contextlib.chdir(tmp_path):
        for _ in range(25):
            Path(part).mkdir()
            os.chdir(part)
        Path("x.png").write_bytes(DATA[1])
    source = open_source(tmp_path)
    assert source.records[0].id == "a.png" and source.read(source.records[0]) == DATA[0]
    assert len(source.records) == 2 and source.records[1].id.startswith(f"{part}/{part}")
    with pytest.raises(ImageError, match=r"unreadable file: .*too long"):
        source.read(source.records[1])


@pytest.mark.parametrize(
    ("field", "value", "twice"),
    [("row", 0, True), ("row", 1, False), ("side", 8, True), ("name", "image", True), ("name", "imagf", False)],
)
def test_what_an_hdf5_file_states_twice_is_an_error(field: str, value: int | str, twice: bool, tmp_path: Path) -> None:
    """Of two chunks for one row, or two datasets of one name, programs show different ones."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
        file.create_dataset("image", data=pixels, chunks=(1, 16, 16, 3))
        if field == "name":
            file.create_dataset("imagx", data=pixels[:, ::2, ::2, 0], chunks=(1, 8, 8))
    data = bytearray(path.read_bytes())
    if field == "name":
        data = data.replace(b"imagx", str(value).encode())
    else:
        node = next(at for at in range(len(data)) if data[at : at + 5] == b"TREE\1")
        # Behind 24 bytes, each key has a size, a mask, 5 offsets and an address.
        struct.pack_into("<Q", data, node + 24 + 56 + 8 + (8 if field == "side" else 0), int(value))
        if field == "side":
            struct.pack_into("<Q", data, node + 24 + 56 + 8, 0)
    path.write_bytes(data)
    location = f"hdf5,image=image:{path}"
    if twice:
        with pytest.raises(SourceError, match=r"expected every (chunk|name) once"):
            open_source(location)
    else:
        assert len(open_source(location).records) == 2
