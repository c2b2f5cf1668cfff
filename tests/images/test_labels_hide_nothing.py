"""Files of labels hold labels alone: an image among them is an error, and a second file of the name is an image."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import containers as c
from tests.builders import write
from unveil.errors import SourceError
from unveil.images import LabelRule, open_source

IMAGES = c.drawn_items(4)
HIDDEN = IMAGES[-1].data
BASE64 = base64.b64encode(HIDDEN).decode()
ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in BASE64[:20]) + BASE64[20:]
LABELS = b'{"labels": null}'


def in_tar(to: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(to / "set.tar", "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return to / "set.tar"


def in_zip(to: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(to / "set.zip", "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return to / "set.zip"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [in_tar, in_zip])
def test_other_members_with_the_name_of_the_labels_are_images(pack: object, tmp_path: Path) -> None:
    assert callable(pack)
    members = [(f"{k}.png", item.data) for k, item in enumerate(IMAGES[:-1])]
    path = pack(tmp_path, [*members, ("dataset.json", HIDDEN), ("dataset.json", LABELS)])
    source = open_source(path)
    assert HIDDEN in [source.read(record) for record in source.records]
    assert len(source.records) == len(IMAGES)


@pytest.mark.parametrize(
    "document",
    [
        f'{{"labels": null, "more": ["{BASE64}"]}}',
        f'{{"labels": null, "more": ["{ESCAPED}"]}}',
        json.dumps({"labels": None, "more": [[k % 256 for k in range(3 * 32 * 32)]]}),
        json.dumps({"labels": [["0.png", [k / 9 for k in range(3 * 64 * 64)]]]}),
        json.dumps({"labels": [[BASE64, 1]]}),
        json.dumps({"labels": None, "more": [BASE64]}).encode("utf-16"),
        json.dumps({"labels": None, "more": [BASE64]}).encode("utf-32-le"),
        f'{{"labels": null, "more": ["{ESCAPED}"]}}'.encode("utf-8-sig"),
    ],
)
def test_images_in_the_labels_of_stylegan_are_an_error(document: str | bytes, tmp_path: Path) -> None:
    for k, item in enumerate(IMAGES[:-1]):
        write(tmp_path / "set" / f"{k}.png", item.data)
    write(tmp_path / "set" / "dataset.json", document)
    with pytest.raises(SourceError, match="expected labels alone, found an image"):
        open_source(tmp_path / "set")


@pytest.mark.parametrize("hidden", [f'{{"labels": ["{ESCAPED}"], "labels": null}}', '{"labels": [], "labels": []}'])
def test_a_key_that_a_table_has_twice_is_an_error(hidden: str, tmp_path: Path) -> None:
    for k, item in enumerate(IMAGES[:-1]):
        write(tmp_path / "set" / f"{k}.png", item.data)
    write(tmp_path / "set" / "dataset.json", hidden)
    with pytest.raises(SourceError, match=r"dataset\.json: expected every key once .* found `labels` several times"):
        open_source(tmp_path / "set")
    packed = in_tar(tmp_path, [("0.png", IMAGES[0].data), ("0.json", b'{"a": [{"b": 1, "b": 2}]}')])
    with pytest.raises(SourceError, match="found `b` several times"):
        open_source(packed)


def test_poses_of_cameras_are_no_images(tmp_path: Path) -> None:
    rows = [[f"{k}.png", [k / 7] * 25] for k in range(1000)]
    write(tmp_path / "dataset.json", json.dumps({"labels": rows}))
    for k, item in enumerate(IMAGES):
        write(tmp_path / f"{k}.png", item.data)
    assert len(open_source(tmp_path).records) == len(IMAGES)


def test_images_in_a_list_of_labels_are_an_error(tmp_path: Path) -> None:
    for k, item in enumerate(IMAGES[:-1]):
        write(tmp_path / "set" / f"{k}.png", item.data)
    lines = [f"{k}.png\tp{k}\n" for k in range(len(IMAGES) - 1)]
    write(tmp_path / "set" / "labels.txt", "".join(lines) + f"x.png\t{BASE64}\n")
    with pytest.raises(SourceError, match=r"labels\.txt: expected labels alone"):
        open_source(tmp_path / "set", LabelRule("list", "labels.txt"))


@pytest.mark.parametrize(
    ("extension", "data"),
    [
        ("label", b" " + HIDDEN),
        ("cls", b"7\n" + HIDDEN),
        ("json", json.dumps({"id": 3, "img": BASE64}).encode()),
        ("json", f'{{"id": 3, "img": "{ESCAPED}"}}'.encode()),
    ],
)
def test_images_in_the_labels_of_samples_are_an_error(extension: str, data: bytes, tmp_path: Path) -> None:
    samples = [
        (f"{k}.{kind}", b) for k, item in enumerate(IMAGES[:-1]) for kind, b in (("png", item.data), ("cls", b"1"))
    ]
    path = in_tar(tmp_path, [*samples, ("9.png", IMAGES[0].data), (f"9.{extension}", data)])
    for rule in ("auto", "none"):
        with pytest.raises(SourceError, match=rf"9\.{extension}: expected labels alone, found an image"):
            open_source(path, LabelRule(rule))


def test_further_and_long_labels_of_a_sample_are_counted(tmp_path: Path) -> None:
    long = json.dumps({"id": 3, "text": "word " * 20_000}).encode()
    path = in_tar(tmp_path, [("1.png", HIDDEN), ("1.json", long), ("1.cls", b"4"), ("1.cls", b"5")])
    notes = open_source(path).notes
    assert any("1 members .json of samples: 1.json" in note for note in notes)
    assert any("1 members .cls of samples: 1.cls" in note for note in notes)
