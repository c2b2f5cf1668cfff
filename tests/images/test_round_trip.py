"""The same images and labels through every writer that exists: each id keeps its label and its pixels."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import containers as c
from tests.builders import encoded, examples, write
from unveil.errors import SettingError
from unveil.images import Source, decode_rgb, open_source, write_without
from unveil.images.source import numbered_ids, unique_ids

FACES = [np.ascontiguousarray(item.pixels[::6, ::6]) for item in c.drawn_items(8)]
NAMES = ("a.png", "a b.png", "é.png", 'x,"1".png', "a.png~2", "n/a.png", "m/1 2.png", "m/#3.png")


@dataclass(frozen=True)
class Row:
    """A name, a label or none, and an image."""

    name: str
    label: int | None
    number: int

    @property
    def data(self) -> bytes:
        return encoded(FACES[self.number])

    @property
    def text(self) -> str | None:
        return None if self.label is None else str(self.label)


Rows = Sequence[Row]
# Where a writer wrote the rows, and the id of each.
Written = tuple[str | Path, Sequence[str]]
WRITERS: dict[str, Callable[[Path, Rows], Written]] = {}


def writer(name: str) -> Callable[[Callable[[Path, Rows], Written]], Callable[[Path, Rows], Written]]:
    def register(function: Callable[[Path, Rows], Written]) -> Callable[[Path, Rows], Written]:
        WRITERS[name] = function
        return function

    return register


def numbered(rows: Rows) -> list[str]:
    return numbered_ids(range(len(rows)))


def missing(rows: Rows) -> list[int]:
    """Labels where a format has whole numbers alone."""
    return [-1 if row.label is None else row.label for row in rows]


def files(rows: Rows) -> Iterator[tuple[str, bytes]]:
    """Images with StyleGAN's file of labels."""
    for row in rows:
        yield row.name, row.data
    labels = [[row.name, row.label] for row in rows if row.label is not None]
    yield "dataset.json", json.dumps({"labels": labels or None}).encode()


@writer("folder")
def folder(to: Path, rows: Rows) -> Written:
    for name, data in files(rows):
        write(to / "set" / name, data)
    return to / "set", [row.name for row in rows]


@writer("list by csv")
def listed(to: Path, rows: Rows) -> Written:
    for row in rows:
        write(to / row.name, row.data)
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("person", "path", "split"))
    lines.writerows((row.text or "", row.name, "train") for row in rows)
    return write(to / "list.csv", "\ufeff" + text.getvalue()), [row.name for row in rows]


def by_zipfile(compression: int) -> Callable[[Path, Rows], Written]:
    def written(to: Path, rows: Rows) -> Written:
        with zipfile.ZipFile(to / "x.zip", "w", compression) as archive:
            for name, data in files(rows):
                archive.writestr(name, data)
        return to / "x.zip", [row.name for row in rows]

    return written


WRITERS["zipfile, stored"] = by_zipfile(zipfile.ZIP_STORED)
WRITERS["zipfile, deflated"] = by_zipfile(zipfile.ZIP_DEFLATED)


def by_tarfile(mode: str, form: int) -> Callable[[Path, Rows], Written]:
    def written(to: Path, rows: Rows) -> Written:
        with tarfile.open(to / "x.tar", mode, format=form) as archive:  # type: ignore[call-overload]
            for name, data in files(rows):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return to / "x.tar", [row.name for row in rows]

    return written


for mode, form in (("w", tarfile.USTAR_FORMAT), ("w:gz", tarfile.GNU_FORMAT), ("w:xz", tarfile.PAX_FORMAT)):
    WRITERS[f"tarfile, {mode} {form}"] = by_tarfile(mode, form)


@writer("webdataset")
def by_webdataset(to: Path, rows: Rows) -> Written:
    import webdataset

    with webdataset.TarWriter(str(to / "x.tar")) as archive:
        for k, row in enumerate(rows):
            labels = {} if row.label is None else {"cls": row.label}
            archive.write({"__key__": f"{k:04d}", "png": row.data} | labels)
    return to / "x.tar", [f"{k:04d}.png" for k in range(len(rows))]


@writer("RecordIO")
def records(to: Path, rows: Rows) -> Written:
    payloads = [
        c.labelled(row.data, label, key=k) for k, (row, label) in enumerate(zip(rows, missing(rows), strict=True))
    ]
    return c.write_records(to / "x", payloads), numbered(rows)


@writer("TFRecord")
def tfrecords(to: Path, rows: Rows) -> Written:
    fields: list[dict[str, bytes | list[int]]] = [
        {"image": row.data} | ({} if row.label is None else {"label": [row.label]}) for row in rows
    ]
    return c.write_tfrecords(to / "x.tfrecord", [c.example(row) for row in fields]), numbered(rows)


@writer("lmdb, msgpack")
def by_lmdb(to: Path, rows: Rows) -> Written:
    values = {f"{k}".encode(): msgpack.packb((row.data, row.label)) for k, row in enumerate(rows)}
    return c.write_lmdb(to / "x", values), [str(k) for k in range(len(rows))]


def by_h5py(**how: Any) -> Callable[[Path, Rows], Written]:
    def written(to: Path, rows: Rows) -> Written:
        with h5py.File(to / "x.h5", "w", **how.get("file", {})) as file:
            file.create_dataset("images", data=np.stack([FACES[row.number] for row in rows]), **how.get("images", {}))
            file["label"] = missing(rows)
        return to / "x.h5", numbered(rows)

    return written


WRITERS["h5py, contiguous"] = by_h5py(file={"libver": "latest"})
WRITERS["h5py, gzip"] = by_h5py(images={"chunks": (1, 16, 8, 3), "compression": "gzip", "shuffle": True})
WRITERS["h5py, user block"] = by_h5py(file={"userblock_size": 1024}, images={"chunks": (1, 16, 16, 1)})


@writer("h5py, encoded")
def by_h5py_encoded(to: Path, rows: Rows) -> Written:
    with h5py.File(to / "x.h5", "w") as file:
        images = file.create_dataset("images", (len(rows),), dtype=h5py.vlen_dtype(np.uint8))
        for k, row in enumerate(rows):
            images[k] = np.frombuffer(row.data, np.uint8)
        texts = [(row.text or "").encode() for row in rows]
        file.create_dataset("person", data=np.array(texts, h5py.string_dtype("utf-8", 4)))
    return to / "x.h5", numbered(rows)


def table(rows: Rows) -> pa.Table:
    images = [{"bytes": row.data, "path": row.name} for row in rows]
    return pa.table({"image": images, "person": pa.array([row.text for row in rows], pa.string())})


@writer("pyarrow, Parquet")
def by_parquet(to: Path, rows: Rows) -> Written:
    pq.write_table(table(rows), to / "x.parquet", row_group_size=2)
    return to / "x.parquet", unique_ids([row.name for row in rows])


@writer("pyarrow, Arrow")
def by_arrow(to: Path, rows: Rows) -> Written:
    with pa.ipc.new_file(str(to / "x.arrow"), table(rows).schema) as file:
        file.write_table(table(rows), max_chunksize=2)
    return to / "x.arrow", unique_ids([row.name for row in rows])


def frame(rows: Rows) -> Any:
    import polars

    labels = polars.Series("label", [row.text for row in rows], polars.String).cast(polars.Categorical)
    return polars.DataFrame([polars.Series("image", [row.data for row in rows], polars.Binary), labels])


@writer("polars, Parquet")
def by_polars_parquet(to: Path, rows: Rows) -> Written:
    frame(rows).write_parquet(to / "x.parquet")
    return to / "x.parquet", numbered(rows)


@writer("polars, Arrow")
def by_polars_arrow(to: Path, rows: Rows) -> Written:
    frame(rows).write_ipc(to / "x.arrow", compression="zstd")
    return to / "x.arrow", numbered(rows)


def hub(rows: Rows) -> Any:
    import datasets

    columns = {"image": [{"bytes": row.data, "path": row.name} for row in rows], "label": [row.label for row in rows]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["0", "1", "2", "3"]))
    return datasets.Dataset.from_dict(columns, features=features)


@writer("datasets, save_to_disk")
def by_save_to_disk(to: Path, rows: Rows) -> Written:
    hub(rows).save_to_disk(to / "saved")  # which stores base names
    return to / "saved", unique_ids([row.name.rpartition("/")[2] for row in rows])


@writer("datasets, to_parquet")
def by_to_parquet(to: Path, rows: Rows) -> Written:
    hub(rows).to_parquet(to / "x.parquet")
    return to / "x.parquet", unique_ids([row.name for row in rows])


ROWS = st.lists(
    st.builds(Row, st.sampled_from(NAMES), st.none() | st.integers(0, 3), st.integers(0, 7)),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row.name,
)


def content(source: Source) -> dict[str, tuple[str | None, bytes]]:
    """Label and pixels of each id. Beside columns, nothing that libraries and our own writers write is unread."""
    assert not list(source.unread.notes())
    return {record.id: (record.person, decode_rgb(source.read(record)).tobytes()) for record in source.records}


def expected(rows: Rows, ids: Sequence[str]) -> Mapping[str, tuple[str | None, bytes]]:
    return {id: (row.text, FACES[row.number].tobytes()) for id, row in zip(ids, rows, strict=True)}


@pytest.mark.parametrize("name", WRITERS)
@examples(6)
@given(rows=ROWS, removed=st.sets(st.integers(0, 5)))
def test_every_id_keeps_its_label_and_pixels(
    name: str, tmp_path_factory: pytest.TempPathFactory, rows: Rows, removed: set[int]
) -> None:
    to = tmp_path_factory.mktemp("rows")
    where, ids = WRITERS[name](to, rows)
    source = open_source(where)
    assert content(source) == expected(rows, ids)
    stay = {id: item for k, (id, item) in enumerate(content(source).items()) if k not in removed}
    if stay:
        # Our own writers: containers of numbers may be numbered again.
        gone = {id for id in content(source) if id not in stay}
        for as_folder in (False, True):
            try:
                out = write_without(source, to / f"out{as_folder}", gone, as_folder=as_folder)
            except SettingError as refusal:
                assert "use --as-folder" in str(refusal) and not as_folder
                continue
            copy = content(open_source(out / "list.csv" if (out / "list.csv").exists() else out))
            people = {person for person, _ in stay.values()} - {None}
            if as_folder and len(people) == 1:
                # One folder of images is no person.
                assert Counter(copy.values()) == Counter((None, pixels) for _, pixels in stay.values())
            else:
                assert Counter(copy.values()) == Counter(stay.values())
