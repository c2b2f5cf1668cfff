"""Compressed tars: unpacked once, read in any order, written again in the same compression."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from tests import containers as c
from tests.builders import write
from tests.containers import Item, drawn_items
from tests.images.conftest import Written
from unveil.errors import DiskFullError, SourceError
from unveil.images import LabelRule, open_source, unpacked, write_without
from unveil.images.blob import LocalBlob
from unveil.images.readers.tar import TarSource


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


class CountingBlob(LocalBlob):
    """Counts the bytes that are read."""

    bytes_read = 0

    def read(self, offset: int, n: int) -> bytes:
        data = super().read(offset, n)
        self.bytes_read += len(data)
        return data


@pytest.mark.parametrize("kind", COMPRESSIONS)
class TestEveryCompression:
    def compressed(self, kind: str, written: Written, to: Path, name: str = "tar") -> Path:
        return write(to / f"set.tar.{kind}", COMPRESSIONS[kind](written(name).read_bytes()))

    def test_the_same_images_people_and_ids_as_unpacked(self, kind: str, written: Written, tmp_path: Path) -> None:
        plain, source = open_source(written("tar")), open_source(self.compressed(kind, written, tmp_path))
        assert [(r.id, r.person) for r in source.records] == [(r.id, r.person) for r in plain.records]
        # In any order.
        for a, b in reversed(list(zip(plain.records, source.records, strict=True))):
            assert source.read(b) == plain.read(a)

    def test_the_compressed_bytes_are_read_once(self, kind: str, written: Written, tmp_path: Path) -> None:
        path = self.compressed(kind, written, tmp_path)
        blob = CountingBlob(path)
        source = TarSource(blob, LabelRule())
        for record in reversed(source.records):
            source.read(record)
        assert blob.bytes_read < 1.1 * path.stat().st_size

    def test_a_file_that_is_open_is_not_unpacked_again(self, kind: str, written: Written, tmp_path: Path) -> None:
        path = self.compressed(kind, written, tmp_path)
        first, again = open_source(path), open_source(path)
        assert isinstance(first, TarSource) and isinstance(again, TarSource) and first.blob is again.blob
        write(path, COMPRESSIONS[kind](written("tar").read_bytes() + b"\0" * 10240))
        changed = open_source(path)
        assert isinstance(changed, TarSource) and changed.blob is not first.blob

    def test_streams_one_after_the_other(self, kind: str, written: Written, tmp_path: Path) -> None:
        """As pigz, lbzip2 and `cat` write them."""
        raw = written("tar").read_bytes()
        parts = [COMPRESSIONS[kind](raw[at : at + 4096]) for at in range(0, len(raw), 4096)]
        source = open_source(write(tmp_path / "x", b"".join(parts)))
        assert len(source.records) == 24

    def test_an_empty_stream_is_not_the_end(self, kind: str, written: Written, tmp_path: Path) -> None:
        raw, compress = written("tar").read_bytes(), COMPRESSIONS[kind]
        parts = [compress(raw[:5120]), compress(b""), compress(b""), compress(raw[5120:]), compress(b"")]
        assert len(open_source(write(tmp_path / "x", b"".join(parts))).records) == 24

    def test_a_stream_may_end_with_a_chunk(self, kind: str, written: Written, tmp_path: Path) -> None:
        raw, compress = written("tar").read_bytes(), COMPRESSIONS[kind]
        first = raw[:-10240].ljust(unpacked.CHUNK, b"\0")  # archives may follow each other, with zeros between them
        assert len(first) == unpacked.CHUNK
        source = open_source(write(tmp_path / "x", compress(first) + compress(raw)))
        assert len(source.records) == 48

    def test_the_rest_of_a_file_is_a_stream_or_an_error(self, kind: str, written: Written, tmp_path: Path) -> None:
        stream = COMPRESSIONS[kind](written("tar").read_bytes())
        for rest in (b"no stream at all", b"\0\0\0\0no stream", stream[:6], b"\1" + stream):
            with pytest.raises(SourceError, match="damaged compressed file"):
                open_source(f"tar:{write(tmp_path / 'x', stream + rest)}")

    def test_copies_are_compressed_in_the_same_way(self, kind: str, written: Written, tmp_path: Path) -> None:
        source = open_source(self.compressed(kind, written, tmp_path))
        out = write_without(source, tmp_path / "out", {r.id for r in source.records[:5]})
        raw = (out / f"set.tar.{kind}").read_bytes()
        assert raw[:3] == (tmp_path / f"set.tar.{kind}").read_bytes()[:3]
        copy = open_source(out)
        assert [r.id for r in copy.records] == [r.id for r in source.records[5:]]

    def test_a_cut_or_damaged_file_is_said(self, kind: str, written: Written, tmp_path: Path) -> None:
        whole = self.compressed(kind, written, tmp_path).read_bytes()
        damaged = whole[:2000] + bytes(200) + whole[2200:]
        # pyarrow's zstd has no checksum: there, one image is damaged.
        for raw in (whole[: len(whole) // 2], *([damaged] if kind != "zst" else [])):
            with pytest.raises(SourceError, match=r"damaged compressed file|damaged tar|truncated tar"):
                open_source(f"tar:{write(tmp_path / 'x', raw)}")

    def test_what_is_no_tar_is_said(self, kind: str, tmp_path: Path) -> None:
        path = write(tmp_path / "x", COMPRESSIONS[kind](b"no tar" * 1000))
        with pytest.raises(SourceError, match="a compressed file that is no tar"):
            open_source(path)

    def test_a_small_file_that_unpacks_to_a_large_one_is_refused(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unpacked, "SPARE_BYTES", 2**20)
        path = write(tmp_path / "x.tar", COMPRESSIONS[kind](b"\0" * 2**24))
        with pytest.raises(SourceError, match="unpacks to more than"):
            open_source(f"tar:{path}")

    def test_the_disk_is_not_filled(
        self, kind: str, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = self.compressed(kind, written, tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6 - 9999, 9999))
        with pytest.raises(DiskFullError, match=r"half of the free space .* set TMPDIR"):
            open_source(path)


def test_compressed_shards_in_a_folder_are_one_set(items: list[Item], tmp_path: Path) -> None:
    for k, part in enumerate((items[:12], items[12:])):
        (tmp_path / str(k)).mkdir()
        write(tmp_path / f"in/{k}.tgz", gzip.compress(c.tarred(tmp_path / str(k), part).read_bytes()))
    source = open_source(tmp_path / "in")
    assert source.kind == "tar in 2 files" and [source.read(r) for r in source.records] == [i.data for i in items]
    copy = open_source(write_without(source, tmp_path / "out", {source.records[20].id}))
    assert len(copy.records) == 23


def test_at_an_address(items: list[Item], tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe_file("/x.tar.gz", gzip.compress(c.tarred(tmp_path, items).read_bytes()))
    source = open_source("memory://x.tar.gz")
    assert [source.read(r) for r in source.records] == [i.data for i in items]


def test_a_list_may_begin_like_bzip2(items: list[Item], tmp_path: Path) -> None:
    write(tmp_path / "BZh9/a.png", items[0].data)
    source = open_source(write(tmp_path / "l.txt", "BZh9/a.png p\nBZh9/a.png p\n"))
    assert source.kind == "list" and np.all([r.person == "p" for r in source.records])


def test_memory_that_an_xz_header_asks_for_is_limited(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**29}]
    path = write(tmp_path / "x", lzma.compress(b"\0" * 10240, filters=filters))
    with pytest.raises(SourceError, match="Memory usage limit"):
        open_source(f"tar:{path}")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_zeros_may_stand_between_streams_and_at_the_end(kind: str, written: Written, tmp_path: Path) -> None:
    raw, compress = written("tar").read_bytes(), COMPRESSIONS[kind]
    for zeros in (4, 2 * unpacked.FED, 2 * unpacked.CHUNK):
        data = compress(raw[:5120]) + bytes(zeros) + compress(raw[5120:]) + bytes(zeros)
        assert len(open_source(write(tmp_path / "x", data)).records) == 24


def test_skippable_frames_of_zstd_are_no_images(written: Written, tmp_path: Path) -> None:
    raw, frame = written("tar").read_bytes(), b"\x50\x2a\x4d\x18\4\0\0\0abcd"
    assert len(open_source(write(tmp_path / "x", zstd(raw[:5120]) + frame + zstd(raw[5120:]) + frame)).records) == 24


@pytest.mark.parametrize("kind", ["bz2", "xz"])
def test_many_empty_streams_take_no_quadratic_time(kind: str, tmp_path: Path) -> None:
    blob = LocalBlob(write(tmp_path / "x", COMPRESSIONS[kind](b"") * 50_000))
    start = time.process_time()
    assert unpacked.unpack(blob).size == 0
    assert time.process_time() - start < 10


def test_a_file_without_its_end_mark_may_be_cut(tmp_path: Path) -> None:
    """Whole in every part that it has, as a writer that was stopped leaves it."""
    items = drawn_items(4)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for item in items:
            member = tarfile.TarInfo(f"{item.number}.png")
            member.size = len(item.data)
            archive.addfile(member, io.BytesIO(item.data))
        end = archive.offset
    table = pa.table({"image": [{"bytes": item.data} for item in items]})
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    for file, size in (("a.tar", end), ("a.arrow", (tmp_path / "a.arrow").stat().st_size - 8)):
        whole, cut = tmp_path / file, tmp_path / f"cut {file}"
        cut.write_bytes(whole.read_bytes()[:size])
        for place, noted in ((whole, False), (cut, True)):
            source = open_source(place)
            assert len(source.records) == 4 and any("which may be cut off" in note for note in source.notes) == noted
