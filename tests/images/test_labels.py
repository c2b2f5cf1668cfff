"""A label travels with its row, ids are unique, and what is no label becomes no person."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import containers as c
from tests.builders import drawn_faces, encoded, write
from tests.containers import message
from unveil.errors import SettingError, SourceError
from unveil.images import LabelRule, Source, decode_rgb, open_source
from unveil.images.clutter import is_clutter
from unveil.images.label_values import label_of
from unveil.images.labels import parse_list, read_label_map
from unveil.images.readers import tfrecord
from unveil.images.readers.recordio import MAX_EXACT_LABEL, first_range
from unveil.images.source import LONG_TEXT, Entry, unique_ids
from unveil.types import ImageRecord

FACES = list(drawn_faces(8, 5))
DATA = [encoded(face) for face in FACES]
# Name, label and bytes of an image.
Row = tuple[str, str | None, bytes]


def people(source: Source) -> list[str | None]:
    return [record.person for record in source.records]


def check_rows(source: Source, expected: Sequence[str | None]) -> None:
    """Every row has its own id, its own image and its own label."""
    assert len({record.id for record in source.records}) == len(expected)
    for k, record in enumerate(source.records):
        assert np.array_equal(decode_rgb(source.read(record)), FACES[k]) and record.person == expected[k], k


class TestIds:
    @given(st.lists(st.sampled_from(["a", "a~2", "a~2~2", "a~3", "b", ""]), max_size=12))
    def test_ids_are_unique_and_keep_first_names(self, names: list[str]) -> None:
        ids = unique_ids(names)
        assert len(set(ids)) == len(names)
        for name in names:
            assert ids[names.index(name)] == name
        assert all(id == name or id.startswith(f"{name}~") for id, name in zip(ids, names, strict=True))

    def test_a_repeated_name_does_not_meet_another(self) -> None:
        assert unique_ids(["a", "a", "a~2"]) == ["a", "a~3", "a~2"]

    def test_members_of_one_name_beside_a_name_with_a_number(self, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            for name, data in zip(("x/a.png", "x/a.png", "x/a.png~2"), DATA, strict=False):
                archive.writestr(name, data)
        source = open_source(tmp_path / "z.zip", LabelRule("one-per-image"))
        assert len({r.id for r in source.records}) == len(set(people(source))) == 3

    def test_shards_of_one_name_in_two_folders(self, tmp_path: Path) -> None:
        for k, split in enumerate(("train", "test")):
            (tmp_path / "set" / split).mkdir(parents=True)
            with tarfile.open(tmp_path / f"set/{split}/0.tar", "w") as archive:
                for i in (0, 1):
                    info = tarfile.TarInfo(f"{i}.png")
                    info.size = len(DATA[2 * k + i])
                    archive.addfile(info, io.BytesIO(DATA[2 * k + i]))
        source = open_source(tmp_path / "set")
        assert [r.id for r in source.records] == [f"{s}/0.tar/{i}.png" for s in ("test", "train") for i in (0, 1)]
        assert [source.read(r) for r in source.records] == [DATA[k] for k in (2, 3, 0, 1)]
        braces = open_source(f"{tmp_path}/set/{{train,test}}/0.tar")
        assert [r.id for r in braces.records][:2] == ["train/0.tar/0.png", "train/0.tar/1.png"]


PEOPLE = ["anna", "anna", "bob", "bob", "carl", "carl", "dora", "dora"]
NAMES = [f"{k % 2:04d}.png" for k in range(8)]  # base names alone, as embedded files of Hugging Face have them


def hub_table() -> pa.Table:
    images = [{"bytes": data, "path": name} for data, name in zip(DATA, NAMES, strict=True)]
    return pa.table({"image": images, "label": PEOPLE})


def hub_parquet(to: Path) -> Path:
    pq.write_table(hub_table(), to / "hub.parquet")
    return to / "hub.parquet"


def saved_arrow(to: Path) -> Path:
    table = hub_table()
    with pa.ipc.new_stream(str(to / "saved.arrow"), table.schema) as writer:
        writer.write_table(table)
    return to / "saved.arrow"


def records_with_list(to: Path) -> Path:
    path = c.write_records(to / "train", [c.labelled(data, 0) for data in DATA])
    write(to / "train.tsv", "".join(f"{k}\t{NAMES[k]}\t{PEOPLE[k]}\n" for k in range(8)))
    return path


class TestRepeatedNames:
    @pytest.mark.parametrize("make", [hub_parquet, saved_arrow, records_with_list])
    def test_each_row_has_its_own_label(self, make: Callable[[Path], Path], tmp_path: Path) -> None:
        check_rows(open_source(make(tmp_path)), PEOPLE)

    def test_embeddings(self, tmp_path: Path) -> None:
        vectors = np.eye(8, dtype=np.float32)
        np.savez(tmp_path / "v.npz", vectors=vectors, ids=np.array(NAMES), labels=np.array(PEOPLE))
        pq.write_table(pa.table({"embedding": list(vectors), "label": PEOPLE, "path": NAMES}), tmp_path / "v.parquet")
        for name in ("v.npz", "v.parquet"):
            source = open_source(tmp_path / name)
            assert people(source) == PEOPLE and len({r.id for r in source.records}) == 8

    def test_a_list_that_names_one_image_twice(self, tmp_path: Path) -> None:
        """Under two people, one of them would be named for the face of the other."""
        write(tmp_path / "a.png", DATA[0])
        write(tmp_path / "b.png", DATA[1])
        source = open_source(write(tmp_path / "list.txt", "a.png p1\n./a.png p2\nb.png p3\nb.png p3\n"))
        rows = sorted((r.id, r.person) for r in source.records)
        assert rows == [("./a.png", None), ("a.png", None), ("b.png", "p3"), ("b.png~2", "p3")]
        assert any(note.startswith("1 images stand under several labels") for note in source.notes)


def test_the_label_of_a_sample_is_that_beside_it(tmp_path: Path) -> None:
    """Where keys occur again, as in archives that were joined. Otherwise a label may stand anywhere."""

    def people_of(*members: tuple[str, bytes]) -> list[str | None]:
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return people(open_source(tmp_path / "x.tar"))

    first = [(f"{k}.{kind}", data) for k in range(3) for kind, data in (("png", DATA[k]), ("cls", b"%d" % k))]
    second = [
        (f"{k}.{kind}", data) for k in range(3) for kind, data in (("cls", b"%d" % (k + 5)), ("png", DATA[k + 3]))
    ]
    assert people_of(*first, *second) == ["0", "1", "2", "5", "6", "7"]
    assert people_of(*first[::2], *second) == [None, None, None, "5", "6", "7"]
    assert people_of(*first[::2], *first[1::2]) == ["0", "1", "2"]
    with pytest.raises(SourceError, match=r"found `0\.cls` beside no image\. Give each archive"):
        people_of(*first[::2], *first[::2], *first[1::2], *first[1::2])


def test_accents_in_both_forms_are_one_name(tmp_path: Path) -> None:
    """Systems store `José` as four or as five characters."""
    names = ["Jose\u0301", "Jos\u00e9"]
    for k, name in enumerate(names):
        write(tmp_path / "set" / name / f"{k}.png", DATA[k])
    write(tmp_path / "set" / "a" / "2.png", DATA[2])
    assert set(people(open_source(tmp_path / "set"))) == {"a", names[1]}
    pq.write_table(pa.table({"image": DATA[:2], "label": names}), tmp_path / "x.parquet")
    assert people(open_source(tmp_path / "x.parquet")) == [names[1]] * 2


def test_keys_of_an_lmdb_that_are_numbers_have_no_folders(tmp_path: Path) -> None:
    """Byte 47 of a binary number is that of a slash."""
    keys = [number.to_bytes(4, "little") for number in (1, 0x2F01, 0x2F02, 0x2F0003)]
    c.write_lmdb(tmp_path / "x", dict(zip(keys, DATA[:4], strict=True)))
    source = open_source(tmp_path / "x")
    assert source.rule.kind == "none" and people(source) == [None] * 4
    c.write_lmdb(tmp_path / "y", {f"p{k}/a".encode(): data for k, data in enumerate(DATA[:2])})
    assert people(open_source(tmp_path / "y")) == ["p0", "p1"]


def test_names_of_classes_are_the_same_in_all_files_and_differ(tmp_path: Path) -> None:
    def written(name: str, names: list[str] | None) -> Path:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = pa.table({"image": DATA[:2], "label": [0, 1]})
        if names is not None:
            metadata = json.dumps({"info": {"features": features}}).encode()
            table = table.replace_schema_metadata({b"huggingface": metadata})
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / name)
        return tmp_path / name

    for alike in (["x\u00e9", "x\u00e9"], ["x\u00e9", "xe\u0301"], ["x\u00e9 ", "x\u00e9"]):
        with pytest.raises(SourceError, match="expected another name for each class of label, found `x\u00e9` several"):
            open_source(written("x.parquet", alike))
    with pytest.raises(SourceError, match="expected classes from 0 to 0 in label, which has as many names, found 1"):
        open_source(written("x.parquet", ["x"]))
    written("set/0.parquet", ["anna", "bob"])
    written("set/1.parquet", ["anna", "bob"])
    assert people(open_source(tmp_path / "set")) == ["anna", "bob"] * 2
    for other in (None, ["bob", "anna"]):
        written("set/1.parquet", other)
        with pytest.raises(SourceError, match="expected the same names of classes in all of its files"):
            open_source(tmp_path / "set")


@pytest.mark.parametrize(
    ("folders", "noted"),
    [
        (("train/a", "train/b", "val/a", "val/b"), "train/a and val/a"),
        (("a/1", "a/2", "b/1", "b/2"), "a/1 and a/2"),
        (("train/a", "train/b", "more/c", "val/d"), None),
        (("a", "b/1", "b/2", "c"), None),
    ],
)
def test_folders_that_may_be_one_person_are_noted(folders: Sequence[str], noted: str | None, tmp_path: Path) -> None:
    for k, folder in enumerate(folders):
        write(tmp_path / folder / f"{k}.png", DATA[k])
    (note,) = (note for note in open_source(tmp_path).notes if "folders" in note)
    assert (f"; {noted} count as two people" in note) if noted else ("count as two" not in note)


def test_images_without_a_label_are_noted(tmp_path: Path) -> None:
    for k in range(4):
        write(tmp_path / "set" / f"p{k}" / "1.png", DATA[k])
    write(tmp_path / "set/dataset.json", json.dumps({"labels": [["p0/1.png", 3]]}))
    assert "3 of 4 images have no label" in open_source(tmp_path / "set").notes
    for rule in ("prefix:-", "regex:([a-z]+)-", "folder"):
        for k, name in enumerate(("a-1.png", "a-2.png", "b/c-3.png", "d.png")):
            write(tmp_path / "named" / name, DATA[k])
        missing = 3 if rule == "folder" else 1
        assert f"{missing} of 4 images have no label" in open_source(tmp_path / "named", LabelRule.parse(rule)).notes


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("file_path,identity_name", "x"),
        ("filename,split,subject_name", "z"),
        ("img_path,what", "x"),
        ("filename,split,who", None),
        ("path,id,name", None),
        ("path,id", "x"),
        ("path,split", None),
        ("image,who", "x"),
    ],
)
def test_the_column_of_people_is_named_so(header: str, label: str | None, tmp_path: Path) -> None:
    for k in range(2):
        write(tmp_path / f"{k}.png", DATA[k])
    each = "id,name" in header  # a number of each image
    rows = "".join(f"{k}.png,x{k if each else ''}{',z' if header.count(',') == 2 else ''}\n" for k in range(2))
    source = open_source(write(tmp_path / "list.csv", f"{header}\n{rows}"))
    assert [(r.id, r.person) for r in source.records] == [("0.png", label), ("1.png", label)]
    assert any("call the one that names them `person`" in note for note in source.notes) == (label is None)


def test_quotes_are_no_part_of_a_cell(tmp_path: Path) -> None:
    for k in range(2):
        write(tmp_path / f"{k}.png", DATA[k])
    for delimiter in ",\t;|":
        lines = "".join(f'"{k}.png"{delimiter}"John ""{k}"""\n' for k in range(2))
        source = open_source(write(tmp_path / "list.txt", lines))
        assert [(r.id, r.person) for r in source.records] == [("0.png", 'John "0"'), ("1.png", 'John "1"')]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"file_name":"0.png","label":"x"}\n{"file_name":"1.png","label":"y"}\n',
            "expected lines `path,label`, found JSON",
        ),
        ('path,person\n0.png,"John\nSmith"\n1.png,Anna\n', "found a quoted cell on line 2 that goes on behind it"),
    ],
)
def test_lists_in_other_forms_are_an_error(text: str, message: str, tmp_path: Path) -> None:
    for k in range(2):
        write(tmp_path / f"{k}.png", DATA[k])
    with pytest.raises(SourceError, match=message):
        open_source(write(tmp_path / "list.txt", text))


class TestLabelValues:
    @pytest.mark.parametrize(
        ("value", "label"),
        [
            *((0, "0"), (7, "7"), (np.int64(3), "3"), (3.0, "3"), (0.5, "0.5"), ("bob ", "bob"), (b"bob", "bob")),
            *((-1, None), (-1.0, None), ("-1", None), (float("nan"), None), (float("inf"), None), (None, None)),
            *(("Nan", "Nan"), ("Null", "Null"), ("NaN", None), ("None", None), ("NULL", None)),
            *(("", None), ("  ", None), (True, None), ({"a": 1}, None)),
            *(([4], "4"), ([[4]], "4"), (np.array([4.0]), "4"), ([0, 0, 1, 0], "2"), ([0.5, 0.5], None), ([], None)),
        ],
    )
    def test_one_function_decides(self, value: object, label: str | None) -> None:
        assert label_of(value) == label

    @pytest.mark.parametrize(("kind", "first"), [(np.float16, 2**11), (np.float32, 2**24), (np.float64, 2**53)])
    def test_numbers_that_a_type_does_not_keep_apart_are_an_error(
        self, kind: type[Any], first: int, tmp_path: Path
    ) -> None:
        exact, merged = np.arange(first - 8, first).astype(kind), np.arange(first, first + 8).astype(kind)
        assert len(set(exact)) == 8 > len(set(merged))
        vectors = np.eye(8, dtype=np.float32)

        def opened(labels: np.ndarray[Any, Any]) -> Iterator[Callable[[], Source]]:
            np.savez(tmp_path / "x.npz", vectors=vectors, labels=labels)
            yield lambda: open_source(tmp_path / "x.npz")
            with h5py.File(tmp_path / "x.h5", "w") as file:
                file["images"], file["label"] = np.zeros((8, 32, 32, 3), np.uint8), labels
            yield lambda: open_source(tmp_path / "x.h5")
            pq.write_table(pa.table({"image": DATA, "label": pa.array(labels)}), tmp_path / "x.parquet")
            yield lambda: open_source(tmp_path / "x.parquet")
            pq.write_table(pa.table({"vectors": list(vectors), "label": pa.array(labels)}), tmp_path / "y.parquet")
            yield lambda: open_source(tmp_path / "y.parquet")
            if kind == np.float32:
                values = [message(2, message(1, labels[k : k + 1].tobytes())) for k in range(8)]
                examples = [
                    message(1, message(1, message(1, b"image") + message(2, message(1, message(1, data)))))
                    + message(1, message(1, message(1, b"label") + message(2, value)))
                    for data, value in zip(DATA, values, strict=True)
                ]
                c.write_tfrecords(tmp_path / "x.tfrecord", examples)
                yield lambda: open_source(tmp_path / "x.tfrecord")

        for source in opened(exact):
            assert len(set(people(source()))) == 8
        for source in opened(merged):
            with pytest.raises(
                SourceError, match=rf"\.\w+: expected .* found the {np.dtype(kind)} .* may stand for several people"
            ):
                source()
        with pytest.raises(SourceError, match="may stand for several people"):
            label_of(merged[0])

    def test_long_texts_and_numbers_stay_different_and_become_short(self) -> None:
        values = ["x" * 5000 + end for end in "ab"] + [(1 << 20_000) + k for k in range(2)]
        found = [label_of(value) or "" for value in values]
        assert len(set(found)) == 4 and all(LONG_TEXT < len(label) < 1200 for label in found)
        assert found[0].startswith("x" * 1024 + "... (5,001 characters, SHA-256 ")

    def test_long_labels_and_ids_are_noted(self, tmp_path: Path) -> None:
        opaque = ["".join(map(chr, np.random.default_rng(k).integers(97, 123, 3000))) for k in range(2)]
        labels = [*opaque, "c", "d", *opaque, "c", "d"]
        notes = [f"2 labels have more than {LONG_TEXT} characters, and may be other content: {opaque[0][:60]}..."]
        pq.write_table(pa.table({"image": DATA, "label": labels}), tmp_path / "x.parquet")
        assert [note for note in open_source(tmp_path / "x.parquet").notes if "may be other" in note] == notes
        lines = "".join(f"{k}.png\t{label}\n" for k, label in enumerate(labels))
        for k, data in enumerate(DATA):
            write(tmp_path / "set" / f"{k}.png", data)
        listed = open_source(write(tmp_path / "set" / "list.txt", lines))
        assert [note for note in listed.notes if "may be other" in note] == notes
        pq.write_table(
            pa.table({"image": [{"bytes": d, "path": t} for d, t in zip(DATA, labels, strict=True)]}),
            tmp_path / "y.parquet",
        )
        assert any(
            note.startswith("4 ids of images have more than") for note in open_source(tmp_path / "y.parquet").notes
        )
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"], file["label"] = np.zeros((8, 32, 32, 3), np.uint8), [label * 2 for label in labels]
        assert "not read: 4 labels of more than 4,096 bytes: label" in open_source(tmp_path / "x.h5").notes

    def test_deep_lists_are_no_recursion(self) -> None:
        deep: object = 5
        for _ in range(10_000):
            deep = [deep]
        assert label_of(deep) == "5" and label_of([deep, 1]) is None

    def test_missing_labels_are_no_person(self, tmp_path: Path) -> None:
        expected = ["anna", "anna", "bob", "bob", None, None, None, None]
        labels = [0, 0, 1, 1, -1, -1, -1, -1]
        features = {"label": {"names": ["anna", "bob"], "_type": "ClassLabel"}}
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        table = pa.table({"image": DATA, "label": labels}).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / "classes.parquet")
        check_rows(open_source(tmp_path / "classes.parquet"), expected)
        numbers = ["0", "0", "1", "1", None, None, None, None]
        for missing in (-1.0, float("nan")):
            stored = [0.0, 0.0, 1.0, 1.0, *[missing] * 4]
            path = c.write_records(
                tmp_path / f"r{missing}", [c.labelled(d, v) for d, v in zip(DATA, stored, strict=True)]
            )
            check_rows(open_source(path), numbers)
        np.savez(tmp_path / "v.npz", vectors=np.eye(8, dtype=np.float32), labels=np.array(stored))
        assert people(open_source(tmp_path / "v.npz")) == numbers

    @pytest.mark.parametrize(
        ("column", "labels"),
        [
            (pa.array(PEOPLE).dictionary_encode(), PEOPLE),
            (pa.array(PEOPLE, pa.string_view()), PEOPLE),
            (pa.array(PEOPLE, pa.large_string()), PEOPLE),
            (pa.array([float(k // 2) for k in range(8)]), [str(k // 2) for k in range(8)]),
            (pa.array([k // 2 for k in range(8)], pa.uint8()), [str(k // 2) for k in range(8)]),
        ],
        ids=["dictionary", "string_view", "large_string", "double", "uint8"],
    )
    @pytest.mark.parametrize("image", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
    def test_columns_of_every_type(
        self, column: pa.Array, labels: list[str], image: pa.DataType, tmp_path: Path
    ) -> None:
        try:
            pq.write_table(pa.table({"image": pa.array(DATA, image), "label": column}), tmp_path / "t.parquet")
        except pa.ArrowNotImplementedError:
            pytest.skip(f"PyArrow {pa.__version__} cannot write this type")
        check_rows(open_source(tmp_path / "t.parquet"), labels)

    @pytest.mark.parametrize("labels", [np.arange(8)[:, None] // 2, (np.arange(8) // 2).astype("f4")])
    def test_labels_of_hdf5_as_a_column_or_floats(self, labels: np.ndarray, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["images"], file["labels"] = np.stack(FACES), labels
        check_rows(open_source(tmp_path / "x.h5"), [str(k // 2) for k in range(8)])

    def test_a_column_that_is_not_used_is_named(self, tmp_path: Path) -> None:
        poses = pa.array([[0.1, 0.2]] * 8, pa.list_(pa.float32()))
        pq.write_table(pa.table({"image": DATA, "label": poses}), tmp_path / "t.parquet")
        source = open_source(tmp_path / "t.parquet")
        assert set(people(source)) == {None}
        assert any("the column label is not used" in note for note in source.notes)

    def test_another_column_of_labels_is_named(self, tmp_path: Path) -> None:
        pq.write_table(
            pa.table({"image": DATA, "label": [0, 1] * 4, "person_id": PEOPLE, "age": [30] * 8}), tmp_path / "t.parquet"
        )
        source = open_source(tmp_path / "t.parquet")
        assert people(source) == PEOPLE
        assert (
            "the column label is not used: person_id holds the people. Use label=label to change that" in source.notes
        )
        pq.write_table(pa.table({"image": DATA, "celebrity": PEOPLE, "age": [30] * 8}), tmp_path / "u.parquet")
        with h5py.File(tmp_path / "u.h5", "w") as file:
            file["images"], file["celebrity"], file["age"] = np.stack(FACES), [p.encode() for p in PEOPLE], [30] * 8
        for name in ("u.parquet", "u.h5"):
            source = open_source(tmp_path / name)
            assert set(people(source)) == {None}
            assert any("if one of age, celebrity holds them, use label=NAME" in note for note in source.notes)
            form = open_source(f"{'hdf5' if name.endswith('5') else 'parquet'},label=celebrity:{tmp_path / name}")
            assert people(form) == PEOPLE


class TestRecordIOLabels:
    def test_labels_that_float32_cannot_hold_are_not_used(self, tmp_path: Path) -> None:
        labels = [1.0, MAX_EXACT_LABEL - 1.0, float(MAX_EXACT_LABEL), MAX_EXACT_LABEL + 2.0]
        path = c.write_records(tmp_path / "a", [c.labelled(DATA[0], label) for label in labels])
        source = open_source(path)
        assert people(source) == ["1", str(MAX_EXACT_LABEL - 1), None, None]
        assert any(note.startswith("2 labels of 16,777,216 or more are not used") for note in source.notes)

    @pytest.mark.parametrize("exact", [17_091_657, 17_091_658, 2**24 + 1, 40_000_003])
    def test_a_rounded_number_of_images_is_corrected(self, exact: int) -> None:
        stated = int(np.float32(exact))
        assert first_range(stated, lambda key: key >= exact) == exact

    def test_an_exact_number_is_taken_as_it_is(self) -> None:
        assert first_range(1000, lambda key: False) == 1000


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FLAT = {f"faces/{k}.png": DATA[k] for k in range(8)}
TWO = {f"{k % 2}/{k}.png": DATA[k] for k in range(8)}
STYLEGAN = {f"{k // 4:05d}/img{k:08d}.png": DATA[k] for k in range(8)}
FFHQ = {f"{k // 4 * 1000:05d}/{k // 4 * 1000 + k % 4:05d}.png": DATA[k] for k in range(8)}
MAC = {f"__MACOSX/faces/._{k}.png": b"\0\5\x16\7" for k in range(8)}


class TestAutomaticRule:
    @pytest.mark.parametrize(
        ("files", "rule", "reason"),
        [
            (FLAT, "none", "one folder"),
            ({"README.txt": b"read me", **FLAT}, "none", "one folder"),
            ({**FLAT, **MAC}, "none", "one folder"),
            ({"top.png": DATA[0], **FLAT}, "none", "one folder"),
            ({"faces/.DS_Store": b"\0", "other/.DS_Store": b"\0", **FLAT}, "none", "one folder"),
            ({".ipynb_checkpoints/0-checkpoint.png": DATA[0], **FLAT}, "none", "one folder"),
            ({f"{s}/{k}.png": DATA[k] for k, s in enumerate(("train", "test", "val"))}, "none", "splits"),
            (STYLEGAN, "none", "numbered batches"),
            (FFHQ, "none", "numbered batches"),
            ({**STYLEGAN, "dataset.json": b'{"labels": null}'}, "none", "name no people"),
            (
                {**TWO, "dataset.json": json.dumps({"labels": [[n, [0.5] * 25] for n in TWO]}).encode()},
                "none",
                "name no people",
            ),
            (
                {**TWO, "dataset.json": json.dumps({"labels": [[n, 3] for n in TWO]}).encode()},
                "labels",
                "labels are stored",
            ),
            (TWO, "folder", "2 folders"),
        ],
    )
    def test_who_is_a_person(self, files: dict[str, bytes], rule: str, reason: str, tmp_path: Path) -> None:
        packed(tmp_path / "x.zip", files)
        for name, data in files.items():
            write(tmp_path / "x" / name, data)
        for path in (tmp_path / "x.zip", tmp_path / "x"):
            source = open_source(path)
            assert str(source.rule) == rule and reason in source.notes[0]
            assert len(source.records) == sum(
                data.startswith(b"\x89PNG") and "checkpoint" not in name for name, data in files.items()
            )
            assert (set(people(source)) == {None}) is (rule == "none")

    def test_ignored_files_are_counted_apart(self, tmp_path: Path) -> None:
        source = open_source(packed(tmp_path / "x.zip", {"README.txt": b"", **TWO, **MAC}))
        assert len(source.records) == 8 and len(source.ignored) == 9
        assert any("9 files that are no images are ignored: README.txt" in note for note in source.notes)

    def test_only_other_files_are_an_error_that_names_one(self, tmp_path: Path) -> None:
        write(tmp_path / "a/notes.txt", "hello")
        with pytest.raises(SourceError, match=r"its 1 files are none, for example `a/notes\.txt`"):
            open_source(tmp_path)

    @pytest.mark.parametrize(
        ("name", "ignored"),
        [
            *(("a/README", True), ("LICENSE.md", True), ("x/Thumbs.db", True), ("labels.csv", True)),
            *(
                ("a.png", False),
                ("a", False),
                ("txt", False),
                ("readme.png", False),
                ("a.b/c.JPG", False),
                ("__MACOSX.png", False),
            ),
        ],
    )
    def test_files_that_are_no_images(self, name: str, ignored: bool) -> None:
        assert is_clutter(name) is ignored

    def test_a_setting_that_is_no_truth_value_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "a.png", DATA[0])
        with pytest.raises(SettingError, match="follow_links should be True or False, got 'no'"):
            open_source(tmp_path, follow_links="no")  # type: ignore[arg-type]


class TestLists:
    @pytest.mark.parametrize(
        ("text", "rows", "noted"),
        [
            ("0.png,p0,train\n1.png,p1,test\n", [("0.png", "p0"), ("1.png", "p1")], "column 3"),
            ("0.png\tp0\t0.91\n1.png\tp1\t0.9\n", [("0.png", "p0"), ("1.png", "p1")], "column 3"),
            ("path,person\n0.png,p0\n1.png,p1\n", [("0.png", "p0"), ("1.png", "p1")], ""),
            ("split,image_path,person_id\na,0.png,p0\nb,1.png,p1\n", [("0.png", "p0"), ("1.png", "p1")], "`split`"),
            ("person,path\np0,0.png\np1,1.png\n", [("0.png", "p0"), ("1.png", "p1")], ""),
            ("my photos/0.png\nmy photos/1.png\n", [("my photos/0.png", None), ("my photos/1.png", None)], ""),
            ("my photos/0.png p0\nmy photos/1.png p1\n", [("my photos/0.png", "p0"), ("my photos/1.png", "p1")], ""),
            ("x,0.png\nx,1.png\n", [("x,0.png", None), ("x,1.png", None)], ""),
            ('"x,0.png",p0\n"x,1.png",p1\n', [("x,0.png", "p0"), ("x,1.png", "p1")], ""),
            ("0.png;p0;train\n1.png;p1;test\n", [("0.png", "p0"), ("1.png", "p1")], "column 3"),
            ('person;path\n"Lee; Ann";"x;0.png"\np1;1.png\n', [("x;0.png", "Lee; Ann"), ("1.png", "p1")], ""),
            ("x;0.png\nx;1.png\n", [("x;0.png", None), ("x;1.png", None)], ""),
            ("x,0.png;p0\ny,1.png;p1\n", [("x,0.png", "p0"), ("y,1.png", "p1")], ""),
            ("path,person\nimg/0,p0\nimg/1,\n", [("img/0", "p0"), ("img/1", None)], ""),
            ("0.png,-1\n1.png,p1\n", [("0.png", None), ("1.png", "p1")], ""),
        ],
    )
    def test_columns_are_decided_for_the_whole_file(
        self, text: str, rows: list[tuple[str, str | None]], noted: str
    ) -> None:
        found = parse_list(text.encode(), "list")
        assert [(row.path, row.label) for row in found.rows] == rows
        assert [note for note in found.notes if noted in note] == list(found.notes) and bool(found.notes) is bool(noted)

    def test_more_than_two_words_are_in_doubt(self) -> None:
        with pytest.raises(SourceError, match="separate the columns by tabs"):
            parse_list(b"0.png Ann Lee\n1.png Bo Chan\n", "list")

    def test_a_list_of_other_names_is_an_error_that_shows_both(self, tmp_path: Path) -> None:
        files = {f"img_align_celeba/{k:06d}.jpg": DATA[k] for k in range(6)}
        files["identity_CelebA.txt"] = "".join(f"{k:06d}.jpg {k // 2}\n" for k in range(6)).encode()
        path = packed(tmp_path / "celeba.zip", files)
        with pytest.raises(SourceError, match=r"one is `img_align_celeba/000000\.jpg`, the list has `000000\.jpg`"):
            open_source(path, LabelRule.parse("list:identity_CelebA.txt"))
        files["identity_CelebA.txt"] = "".join(f"img_align_celeba/{k:06d}.jpg {k // 2}\n" for k in range(6)).encode()
        source = open_source(packed(path, files), LabelRule.parse("list:identity_CelebA.txt"))
        assert Counter(people(source)) == {"0": 2, "1": 2, "2": 2}

    def test_a_list_names_images_of_one_name_by_id(self, tmp_path: Path) -> None:
        rows = [{"bytes": data, "path": "a.png"} for data in DATA[:3]]
        pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")
        for text, expected in (
            ("a.png\tp\na.png~2\tq\n", ["p", "q", "p"]),
            ("a.png~2\tq\na.png~3\tr\n", [None, "q", "r"]),
        ):
            write(tmp_path / "people.tsv", text)
            assert people(open_source(tmp_path / "x.parquet", LabelRule.parse("list:people.tsv"))) == expected

    def test_a_list_of_labels_has_the_notes_of_a_list(self, tmp_path: Path) -> None:
        """Without them, a group in the second column would count as people unseen."""
        table = pa.table({"image": [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(DATA[:4])]})
        text = "# ages\n" + "".join(f"{k}.png,{k % 2},p{k}\n" for k in range(4))
        for where in (tmp_path / "folder", tmp_path / "shards", tmp_path / "one"):
            where.mkdir()
            write(where / "list.csv", text.replace(".png", ".png" if where.name != "shards" else ".parquet/0.png"))
        for k in range(4):
            write(tmp_path / "folder" / f"{k}.png", DATA[k])
            row = pa.table({"image": [{"bytes": DATA[k], "path": "0.png"}]})
            pq.write_table(row, tmp_path / "shards" / f"{k}.parquet")
        pq.write_table(table, tmp_path / "one" / "x.parquet")
        files = {file.name: file.read_bytes() for file in (tmp_path / "folder").iterdir()}
        for path in (*(tmp_path / name for name in ("folder", "shards", "one")), packed(tmp_path / "x.zip", files)):
            source = open_source(path, LabelRule.parse("list:list.csv"))
            assert Counter(people(source)) == {"0": 2, "1": 2}
            assert (
                "of the list, column 3 is ignored: only a path and a label are read, and column 2 is taken for the "
                "people" in source.notes
            )
            assert "1 lines of the list that begin with # are not read" in source.notes

    def test_a_path_with_two_labels_is_an_error(self, tmp_path: Path) -> None:
        files = {"0.png": DATA[0], "1.png": DATA[1], "people.txt": b"0.png a\n1.png b\n0.png b\n"}
        with pytest.raises(SourceError, match=r"`0\.png` has the labels a and b; remove one of them"):
            open_source(packed(tmp_path / "x.zip", files), LabelRule.parse("list:people.txt"))


def listed_by_id(source: Source) -> str:
    """A list that labels every image but the last with the number of its row."""
    return "".join(f"{record.id}\tp{row}\n" for row, record in enumerate(source.records[:-1]))


class TestListsBeside:
    @pytest.mark.parametrize("name", [n for n in c.WRITERS if "tar" not in n and "zip" not in n and n != "WebDataset"])
    def test_a_list_labels_the_rows_of_any_container(self, name: str, tmp_path: Path) -> None:
        path = c.WRITERS[name](tmp_path, c.drawn_items(4, each=2))
        (folder,) = {file.parent for file in tmp_path.rglob("*") if file.suffix in (".rec", ".mdb")} or {
            path if path.is_dir() else path.parent
        }
        write(folder / "people.tsv", listed_by_id(open_source(path, LabelRule("none"))))
        source = open_source(path, LabelRule.parse("list:people.tsv"))
        assert people(source) == ["p0", "p1", "p2", None]
        with pytest.raises(SourceError, match=r"no file gone\.tsv"):
            open_source(path, LabelRule.parse("list:gone.tsv"))

    @pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
    @pytest.mark.parametrize("with_ids", [False, True])
    def test_a_list_labels_the_rows_of_embeddings(self, suffix: str, with_ids: bool, tmp_path: Path) -> None:
        path, vectors = tmp_path / f"v{suffix}", np.eye(4, dtype=np.float32)
        ids = [f"{k}.png" for k in range(4)]
        if suffix == ".npy":
            np.save(path, vectors)
        elif suffix == ".npz":
            arrays = {"vectors": vectors, "ids": np.array(ids)} if with_ids else {"vectors": vectors}
            np.savez(path, allow_pickle=False, **arrays)
        else:
            columns = {"path": ids} if with_ids else {}
            pq.write_table(pa.table({"embedding": list(vectors), **columns}), path)
        write(tmp_path / "people.tsv", listed_by_id(open_source(path)))
        assert people(open_source(path, LabelRule.parse("list:people.tsv"))) == ["p0", "p1", "p2", None]
        write(tmp_path / "people.tsv", "0\ta\n1\tb\n")
        with pytest.raises(SourceError, match=r"labels 0 of 4 images; one is `0+(\.png)?`, the list has `0`"):
            open_source(path, LabelRule.parse("list:people.tsv"))

    def test_one_list_labels_all_files_of_a_set(self, tmp_path: Path) -> None:
        for part in range(2):
            table = pa.table({"image": DATA[2 * part : 2 * part + 2]})
            pq.write_table(table, tmp_path / f"x-{part}.parquet")
        write(tmp_path / "people.tsv", listed_by_id(open_source(tmp_path)))
        for where in (tmp_path, f"{tmp_path}/x-{{0..1}}.parquet"):
            source = open_source(where, LabelRule.parse("list:people.tsv"))
            assert people(source) == ["p0", "p1", "p2", None] and source.records[2].id == "x-1.parquet/00000000"
        write(tmp_path / "people.tsv", "00000000\ta\n00000001\tb\n")
        with pytest.raises(SourceError, match=r"labels 0 of 4 images; one is `x-0\.parquet/00000000`"):
            open_source(tmp_path, LabelRule.parse("list:people.tsv"))

    def test_a_list_labels_sheets_and_so_their_cells(self, tmp_path: Path) -> None:
        sheets = c.grid(tmp_path, c.drawn_items(4, each=2))
        names = sorted(file.name for file in sheets.iterdir())
        write(sheets / "people.txt", f"{names[0]} ann\n{names[1]} bo\n")
        source = open_source(f"grid,cell=96:{sheets}", LabelRule.parse("list:people.txt"))
        assert people(source) == ["ann"] * 4 + ["bo"] * 4

    def test_a_reader_that_takes_no_list_says_so(self) -> None:
        class Drawn(Source):
            kind = "drawing"

            def __init__(self, rule: LabelRule) -> None:
                super().__init__("here", rule)
                self._set_records([Entry("a", "0")])

            def read(self, record: ImageRecord) -> bytes:
                return DATA[0]

        assert Drawn(LabelRule()).records[0].id == "a"
        with pytest.raises(SourceError, match="here: the reader of the drawing takes no list of labels"):
            Drawn(LabelRule.parse("list:x"))


# Label maps


def test_a_label_map_is_read_with_tabs_or_commas(tmp_path: Path) -> None:
    pairs = (("a b", "1"), ("c,d", "2"))
    for text in ("a b\t1\nc,d\t2\n", '# map\nsynthetic_label,training_label\n"a b",1\n\n"c,d", 2\n'):
        (tmp_path / "map").write_text(text)
        assert read_label_map(tmp_path / "map") == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines `synthetic label, training label`"),
        ("synthetic_label,training_label\n", "found none"),
        ("a\n", "expected a synthetic and a training label on every line, found `a` on line 1"),
        ("a,b\nc,d,e\n", "found `c,d,e` on line 2"),
        ("a,-1\n", "found `a,-1` on line 1"),
        ("a,b\n\na,c\n", "found `a` on lines 1 and 3"),
        ("a,b\nc,b\n", "found `b` on lines 1 and 2"),
        ("\ud800", "UTF-8"),
    ],
)
def test_a_label_map_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SourceError, match=re.escape(message)):
        read_label_map(tmp_path / "map")


def test_an_image_with_two_labels_in_dataset_json_is_an_error(tmp_path: Path) -> None:
    for name in TWO:
        write(tmp_path / name, TWO[name])
    rows = [[name, 3] for name in TWO]
    write(tmp_path / "dataset.json", json.dumps({"labels": rows + rows}))
    assert {record.person for record in open_source(tmp_path).records} == {"3"}
    write(tmp_path / "dataset.json", json.dumps({"labels": [*rows, [rows[0][0], 4]]}))
    with pytest.raises(SourceError, match=f"one label for each image, found 3 and 4 for `{rows[0][0]}`"):
        open_source(tmp_path)


def test_a_label_with_a_control_character_and_its_escape_are_two_people() -> None:
    texts = ["A\x01", "A\\x01", "A\\\\x01", "A\\\x01", "A", "A\\b", "A\\\\b", "\u2028", "\\u2028", "C:\\users\\a"]
    shown = [label_of(text) for text in texts]
    assert len(set(shown)) == len(texts)
    assert label_of("A\\b") == "A\\b" and label_of("A\x01") == "A\\x01" and label_of("\u2028") is None


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_dataset_json_of_other_paths_is_an_error(as_zip: bool, tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(4)]
    labels = {"labels": [[f"x/{name}", k] for k, name in enumerate(names)]}
    files = dict(zip(names, DATA[:4], strict=True)) | {"dataset.json": json.dumps(labels).encode()}
    for name, data in files.items():
        write(tmp_path / "in" / name, data)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    message = "found those of other paths: an image is `0.png`, the file has `x/0.png`"
    with pytest.raises(SourceError, match=re.escape(message)):
        open_source(tmp_path / ("x.zip" if as_zip else "in"))


def test_images_whose_names_begin_with_a_hash_are_counted(tmp_path: Path) -> None:
    for name in ("#1.png", "2.png", "3.png"):
        write(tmp_path / name, DATA[0])
    write(tmp_path / "l.csv", b"#1.png,a\n2.png,b\n3.png,c\n")
    source = open_source(tmp_path, LabelRule("list", "l.csv"))
    assert any(note.startswith("1 images whose names begin with # have no label") for note in source.notes)
    write(tmp_path / "l.csv", b'"#1.png",a\n2.png,b\n3.png,c\n')
    source = open_source(tmp_path, LabelRule("list", "l.csv"))
    assert [r.person for r in source.records] == ["a", "b", "c"] and not any("#" in note for note in source.notes)


@pytest.mark.parametrize(
    ("features", "used", "noted"),
    [
        ({"label": [1, 2, 1, 2], "identity": [0, 0, 3, 3]}, "identity", True),
        ({"id": [1, 2, 3, 4], "person_id": [0, 0, 3, 3]}, "person_id", True),
        ({"person": [0, 0, 3, 3]}, "person", False),
        ({"label": [0, 0, 3, None], "identity": [None, None, None, 3]}, "label", True),
        ({"label": [None, None, None, 5]}, "label", False),  # behind the examples that are looked at first
    ],
)
def test_one_feature_of_a_tfrecord_states_the_people(
    features: dict[str, list[int | None]], used: str, noted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, "MAX_UNLABELLED", 2)
    rows = [{name: [v] for name, values in features.items() if (v := values[k]) is not None} for k in range(4)]
    c.write_tfrecords(tmp_path / "a.tfrecord", [c.example({"image": DATA[k], **row}) for k, row in enumerate(rows)])
    source = open_source(tmp_path / "a.tfrecord")
    assert people(source) == [None if v is None else str(v) for v in features[used]]
    assert any(note.startswith(f"people are those of {used}, not of ") for note in source.notes) == noted
