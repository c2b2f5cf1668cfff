"""A container whose rows hold several images: one is read when the user says which, and never one without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.containers import Item, example, message, write_lmdb, write_tfrecords
from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import LabelRule, open_source, write_without
from unveil.images.readers.tf_example import parse_example


def table(items: list[Item], other: object) -> Any:
    return pa.table({"image": [i.data for i in items], "conditioning_image": other})


def parquet(to: Path, items: list[Item]) -> Path:
    pq.write_table(table(items, [{"bytes": i.data, "path": None} for i in items[::-1]]), to / "x.parquet")
    return to / "x.parquet"


def arrow(to: Path, items: list[Item]) -> Path:
    rows = table(items, [i.data for i in items[::-1]])
    with pa.ipc.new_stream(to / "x.arrow", rows.schema) as writer:
        writer.write_table(rows)
    return to / "x.arrow"


def hdf5(to: Path, items: list[Item]) -> Path:
    with h5py.File(to / "x.h5", "w") as file:
        for name, images in (("image", items), ("conditioning_image", items[::-1])):
            rows = file.create_dataset(name, (len(items),), dtype=h5py.vlen_dtype(np.uint8))
            for k, item in enumerate(images):
                rows[k] = np.frombuffer(item.data, np.uint8)
    return to / "x.h5"


def tfrecord(to: Path, items: list[Item]) -> Path:
    pairs = zip(items, items[::-1], strict=True)
    return write_tfrecords(
        to / "x.tfrecord", [example({"image": a.data, "conditioning_image": b.data}) for a, b in pairs]
    )


def packed(to: Path, items: list[Item]) -> Path:
    pairs = enumerate(zip(items, items[::-1], strict=True))
    values = {f"{k}".encode(): msgpack.dumps((a.data, b.data, 7)) for k, (a, b) in pairs}
    return write_lmdb(to / "x.lmdb", values, subdir=False)


# Each container, its form, and the two names of its images.
TWO: dict[str, tuple[Callable[[Path, list[Item]], Path], str, str]] = {
    "parquet": (parquet, "image", "conditioning_image"),
    "arrow": (arrow, "image", "conditioning_image"),
    "hdf5": (hdf5, "image", "conditioning_image"),
    "tfrecord": (tfrecord, "image", "conditioning_image"),
    "lmdb": (packed, "0", "1"),
}


@pytest.mark.parametrize("form", TWO)
def test_two_images_in_a_row_are_a_question_and_each_can_be_read(form: str, items: list[Item], tmp_path: Path) -> None:
    write, first, second = TWO[form]
    path = write(tmp_path, items)
    with pytest.raises(SourceError, match=f"{first}.*{second}.*image={first}, and audit the others"):
        open_source(path)
    for name, expected in ((first, items), (second, items[::-1])):
        source = open_source(f"{form},image={name}:{path}")
        assert [source.read(record) for record in source.records] == [item.data for item in expected]
        copy = open_source(
            f"{form},image={name}:{write_without(source, tmp_path / name, {source.records[0].id}) / path.name}"
        )
        assert [copy.read(record) for record in copy.records] == [item.data for item in expected[1:]]
        if form in ("parquet", "arrow", "hdf5"):
            other = second if name == first else first
            assert f"the images in {other} are not read; use image={other} to read them" in source.notes


def test_bytes_that_are_no_images_are_no_question(items: list[Item], tmp_path: Path) -> None:
    pq.write_table(table(items, [b"hash"] * 24), tmp_path / "x.parquet")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.stack([item.pixels for item in items])
        file["hash"] = np.array([b"h" * 65] * 24)
        file["attributes"] = np.zeros((24, 40), np.uint8)
    write_tfrecords(tmp_path / "x.tfrecord", [example({"image": i.data, "hash": b"hash"}) for i in items])
    for name in ("x.parquet", "x.h5", "x.tfrecord"):
        assert len(open_source(tmp_path / name).records) == 24


def test_two_datasets_of_pixels_of_other_lengths(items: list[Item], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["faces"] = np.stack([i.pixels for i in items[:3]]), np.stack([i.pixels for i in items])
    with pytest.raises(SourceError, match="may be images or faces: each holds images"):
        open_source(tmp_path / "x.h5")
    assert len(open_source(f"hdf5,image=faces:{tmp_path / 'x.h5'}").records) == 24


def test_only_some_records_with_two_images_are_rejects(items: list[Item], tmp_path: Path) -> None:
    one, two = example({"image": items[0].data}), example({"image": items[0].data, "photo": items[1].data})
    several = message(1, message(1, message(1, b"image") + message(2, message(1, message(1, items[0].data) * 2))))
    write_tfrecords(tmp_path / "x.tfrecord", [one, two, several])
    source = open_source(tmp_path / "x.tfrecord", LabelRule("none"))
    assert source.read(source.records[0]) == items[0].data
    for record, name in zip(source.records[1:], ("photo", r"image\[1\]"), strict=True):
        with pytest.raises(ImageError, match=f"several images in the record.*image, {name}"):
            source.read(record)
    assert parse_example(several)["image[1]"] == items[0].data
    values = {b"0": msgpack.dumps((items[0].data, 1)), b"1": msgpack.dumps((items[0].data, items[1].data, 1))}
    source = open_source(write_lmdb(tmp_path / "x.lmdb", values, subdir=False))
    with pytest.raises(ImageError, match="several images in the record"):
        source.read(source.records[1])


def test_a_place_in_msgpack_is_a_number(items: list[Item], tmp_path: Path) -> None:
    path = packed(tmp_path, items)
    with pytest.raises(SettingError, match="image should be the place"):
        open_source(f"lmdb,image=photo:{path}")
    source = open_source(f"lmdb,image=2:{path}")
    with pytest.raises(ImageError, match="no image in the record"):
        source.read(source.records[0])
