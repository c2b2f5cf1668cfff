"""A container written again without some of its images: the others are there, with their people."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from tests.builders import encoded, write
from tests.containers import WRITERS, drawn_items
from tests.images.conftest import Written
from unveil.errors import SettingError
from unveil.images import LabelRule, Source, open_source, write_without

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
    source = open_source(written("HDF5, raw"))
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


class TestRepeatedNames:
    """Records are paired by row: of two images with one name, the right one is removed."""

    def test_lists_lose_the_line_of_the_removed_image(self, tmp_path: Path) -> None:
        for item in drawn_items(2):
            write(tmp_path / f"in/{item.number}.png", item.data)
        source = open_source(write(tmp_path / "in/l.csv", "path,person\n0.png,a\n1.png,b\n0.png,c\n"))
        (second,) = (r.id for r in source.records if r.person == "c")
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
