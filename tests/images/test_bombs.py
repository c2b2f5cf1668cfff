"""Small files that would take much memory or time: each ends within a gibibyte and twenty seconds, in a clear error."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.builders import encoded, write
from unveil.errors import ImageError
from unveil.images.decode import decode_rgb
from unveil.images.location import FORMS

MIB = 2**20
# Opens a source, reads its first images and copies the rest, below limits on memory and processor time: twenty seconds
# for each of the three steps.
CHILD = """
import resource, sys
from pathlib import Path
import cv2, pyarrow, pyarrow.parquet, pyfive
from unveil.errors import UnveilError, ImageError
from unveil.images import LabelRule, decode_rgb, open_source, write_without

def bytes_of(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

resource.setrlimit(resource.RLIMIT_AS, (bytes_of("VmSize") + 3 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 65))
before, place, out, rule = bytes_of("VmRSS"), sys.argv[1], Path(sys.argv[2]), sys.argv[3]
for step in ("read", "copy", "folder"):
    try:
        source = open_source(place, LabelRule.parse(rule))
        for record in source.records[:4] if step == "read" else []:
            try:
                decode_rgb(source.read(record))
            except ImageError as error:
                print(error)
        if step != "read":
            write_without(source, out / step, {source.records[0].id}, as_folder=step == "folder")
    except UnveilError as error:
        print(error)
print("peak", bytes_of("VmHWM") - before)
"""


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    """A black image, compressed a thousandfold, with further chunks."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def many_scans(n: int) -> bytes:
    """A progressive JPEG of 79 million pixels whose last scan of 114 bytes is repeated."""
    buffer = io.BytesIO()
    Image.new("L", (8900, 8900), 128).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * n + b"\xff\xd9"


def folder(path: Path) -> Path:
    """Images of many pixels, of many scans, and with text that unpacks to a gigabyte."""
    text = b"a\0\1\0\0\0" + zlib.compress(bytes(1000 * MIB), 9)
    images = {"a": png(8900, 8900), "b": many_scans(5000), "c": png(64, 64, chunk(b"iTXt", text)), "d": png(16, 2**22)}
    for name, data in images.items():
        write(path / f"{name}.png", data)
    return path


def zipped(path: Path) -> Path:
    """Members of 300 MiB, and a JSON file of a gigabyte of empty lists."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png"):
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range(300):
                    file.write(bytes(MIB))
        with archive.open("dataset.json", "w", force_zip64=True) as file:
            file.write(b'{"labels":[')
            for _ in range(300):
                file.write(b"[]," * MIB)
            file.write(b"[]]}")
    return path


def tarred(path: Path) -> Path:
    """A size below zero, after which the next header would be the same one."""
    head = bytearray(512)
    head[:7], head[100:108], head[124:136], head[156:157] = b"a/x.jpg", b"0000644\0", b"-0000001000\0", b"0"
    head[257:265], head[148:156] = b"ustar\x0000", b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return write(path, bytes(head) + bytes(1024))


def compressed_tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        member = tarfile.TarInfo("a.png")
        member.size = 2**30
        archive.addfile(member, io.BytesIO(bytes(2**30)))
    return path


def parquet(path: Path) -> Path:
    """One value of 8 MiB in 3,000 rows, by a dictionary."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array([bytes(8 * MIB)]))
    with pq.ParquetWriter(path, pa.schema([("image", values.type)]), compression="zstd", store_schema=False) as writer:
        writer.add_key_value_metadata({"padding": os.urandom(1500).hex()})
        writer.write_table(pa.table({"image": values}))
    return path


def other_columns(path: Path) -> Path:
    """Beside 3,000 images, 300 columns with one value of 8 MiB, or of 16,000 bytes, in every row."""
    n = 3000
    columns: dict[str, pa.Array] = {"image": pa.array([png(16, 16)] * n)}
    for k in range(300):
        value = bytes(8 * MIB) if k else b"p" * 16_000
        columns[f"x{k:03d}"] = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([value]))
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    return path


def arrow(path: Path, *, file: bool = False) -> Path:
    """Twelve batches of a gigabyte, compressed."""
    batch = pa.record_batch([pa.array([bytes(2**30)], pa.binary())], names=["image"])
    new, options = pa.ipc.new_file if file else pa.ipc.new_stream, pa.ipc.IpcWriteOptions(compression="zstd")
    with new(str(path), batch.schema, options=options) as writer:
        for _ in range(12):
            writer.write_batch(batch)
    return path


def hdf5(path: Path) -> Path:
    """Labels of 20,000 rows that are one text of a mebibyte."""
    n = 20_000
    with h5py.File(path, "w") as made:
        made.create_dataset("image", data=np.zeros((n, 4, 4, 3), np.uint8))
        labels = made.create_dataset("label", (n,), dtype=h5py.string_dtype())
        labels[0], labels[1] = "A" * MIB, "B"
    raw = bytearray(path.read_bytes())
    at = -1
    while True:
        at = raw.index(struct.pack("<I", MIB), at + 1)
        _, heap, _ = struct.unpack_from("<IQI", raw, at)
        if raw[heap : heap + 4] == b"GCOL":
            break
    raw[at : at + 16 * n] = raw[at : at + 16] * n
    return write(path, bytes(raw))


def pickled(path: Path) -> Path:
    """One image of a mebibyte, 100,000 times."""
    n, image = 100_000, b"\xff\xd8\xff" + b"x" * MIB
    items = b"](B" + struct.pack("<I", len(image)) + image + b"q\x01" + b"h\x01" * (n - 1) + b"e"
    return write(path, b"\x80\x03" + items + b"](" + b"\x89" * (n // 2) + b"e\x86.")


def database(path: Path) -> Path:
    """A value of sixty million empty lists."""
    with lmdb.open(str(path), map_size=2**28) as opened, opened.begin(write=True) as transaction:
        transaction.put(b"0", b"\x92\xc4\x01x\xdd" + struct.pack(">I", 60 * MIB) + b"\x90" * (60 * MIB))
        transaction.put(b"1", msgpack.packb((b"x", 1)))
    return path


def overlapping(path: Path) -> Path:
    """Eight pages of a database whose entries are all one key of 30,000 bytes."""
    size, n_pages, length = 2**16, 8, 30_000
    node = size - (8 + length + 16)
    n = (node - 16) // 2

    def page(number: int, kind: int, nodes: list[int], upper: int, held: bytes) -> bytes:
        head = struct.pack("<QHHHH", number, 0, kind, 16 + 2 * len(nodes), upper) + struct.pack(
            f"<{len(nodes)}H", *nodes
        )
        return head + bytes(size - len(head) - len(held)) + held

    def meta(number: int) -> bytes:
        head = struct.pack("<QHHHHIIQQ", number, 0, 8, 0, 0, 0xBEEFC0DE, 1, 0, 2**30)
        head += struct.pack("<IHHQQQQQ", size, 0, 0, 0, 0, 0, 0, 2**64 - 1)
        head += struct.pack("<IHHQQQQQ", 0, 0, 2, 1, n_pages, 0, n * n_pages, 2) + struct.pack(
            "<QQ", n_pages + 2, number
        )
        return head + bytes(size - len(head))

    branch = b"".join(struct.pack("<HHHH", child, 0, 0, 0) for child in range(3, 3 + n_pages))
    starts = [size - len(branch) + 8 * k for k in range(n_pages)]
    held = struct.pack("<HHHH", 10, 0, 0, length) + b"k" * length + b"\x89PNG000000" + bytes(6)
    leaves = b"".join(page(3 + k, 2, [node] * n, node, held) for k in range(n_pages))
    return write(path, meta(0) + meta(1) + page(2, 1, starts, starts[0], branch) + leaves)


def views(path: Path) -> Path:
    """One label of a mebibyte in 6,000 rows, by views."""
    n = 6000
    label = pa.py_buffer(struct.pack("<i4sii", MIB, b"AAAA", 0, 0) * n)
    labels = pa.Array.from_buffers(pa.string_view(), n, [None, label, pa.py_buffer(b"A" * MIB)])
    batch = pa.record_batch([pa.array([b"x"] * n, pa.binary()), labels], names=["image", "label"])
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)
    return path


def other_views(path: Path) -> Path:
    """Beside 20,000 images, lists of views of one text of 60,000 bytes that begins like many formats."""
    n, text = 20_000, b"TU" + b"A" * 59_998
    view = pa.py_buffer(struct.pack("<i4sii", len(text), text[:4], 0, 0) * n)
    texts = pa.Array.from_buffers(pa.string_view(), n, [None, view, pa.py_buffer(text)])
    lists = pa.ListArray.from_arrays(pa.array(range(n + 1), pa.int32()), texts)
    batch = pa.record_batch([pa.array([png(16, 16)] * n, pa.binary()), lists], names=["image", "other"])
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)
    return path


def other_datasets(path: Path) -> Path:
    """Beside the images, pointers to half a million objects in heaps that overlap, and a chunk of zeros."""
    n = 200_000
    with h5py.File(path, "w") as made:
        made.create_dataset("image", data=np.zeros((8, 16, 16, 3), np.uint8))
        made.create_dataset("zeros", data=np.zeros(16 * MIB, "S16"), chunks=(MIB,), compression="gzip")
        heap = np.tile(np.frombuffer(struct.pack("<4sIQHHIQ", b"GCOL", 1, 4096, 1, 0, 0, 0), np.uint8), n)
        made.create_dataset("heaps", data=heap.view("V32"))
        values = made.create_dataset("values", (n,), h5py.vlen_dtype(np.uint8))
        values[0] = np.zeros(4, np.uint8)
        heaps, pointers = made["heaps"].id.get_offset(), made["values"].id.get_offset()
    raw = bytearray(path.read_bytes())
    for k in range(n):
        struct.pack_into("<IQI", raw, pointers + 16 * k, 4, heaps + 32 * (k % (n - 200)), 1)
    return write(path, bytes(raw))


def many_numbers(path: Path) -> Path:
    """An example of an image and 2,000 lists, each with 8,000 numbers."""
    from unveil.images.readers.tfrecord import masked_crc

    def message(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(data)) + data

    def entry(name: bytes, value: bytes) -> bytes:
        return message(1, message(1, name) + message(2, value))

    entries = entry(b"image", message(1, message(1, png(16, 16))))
    entries += b"".join(entry(b"%d" % k, message(3, message(1, b"\x01" * 8000))) for k in range(2000))
    data = message(1, entries)
    length = struct.pack("<Q", len(data))
    return write(path, (length + struct.pack("<I", masked_crc(length)) + data + bytes(4)) * 3)


def long_list(path: Path) -> Path:
    """A list of 15 million lines for two images, compressed a thousandfold."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.png", b"x")
        archive.writestr("b.png", b"y")
        archive.writestr("labels.txt", b"a 1\n" * 15_000_000)
    return path


def records(path: Path) -> Path:
    """A header that states four billion labels."""
    payload = struct.pack("<IfQQ", 2**32 - 1, 1.0, 0, 0) + b"x" * 40
    return write(path, struct.pack("<II", 0xCED7230A, len(payload)) + payload)


def tfrecord(path: Path) -> Path:
    """A record of 60 MiB that is an example of thirty million features."""
    from unveil.images.readers.tfrecord import masked_crc

    example = b"\x0a\x00" * (2 * MIB)
    inner = b"\x0a" + _varint(len(example)) + example
    length = struct.pack("<Q", len(inner))
    return write(path, length + struct.pack("<I", masked_crc(length)) + inner + bytes(4))


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def embeddings(path: Path) -> Path:
    """Two gigabytes of zeros, compressed."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (MIB, 512)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("vectors.npy", "w", force_zip64=True) as file,
    ):
        file.write(header.getvalue())
        for _ in range(2048):
            file.write(bytes(MIB))
    return path


def texts(path: Path) -> Path:
    """Four ids of 64 million characters, compressed."""
    np.savez_compressed(path, vectors=np.ones((4, 8), np.float32), ids=np.array(["", "a", "b", "c"], f"U{64 * MIB}"))
    return path.with_name(f"{path.name}.npz")


def repeated(path: Path) -> Path:
    """In each of 200 groups of rows, one id of a mebibyte 300 times: 60 gigabytes."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(300 * 4, np.float32)), 4)
    group = pa.table({"vectors": vectors, "id": pa.array(["x" * MIB] * 300)})
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(200):
            writer.write_table(group)
    return path


def sheets(path: Path) -> Path:
    """A list of sheets, each with thousands of cells."""
    write(path.with_suffix("") / "a.png", png(2048, 2048))
    return path.with_suffix("")


def image_list(path: Path) -> Path:
    """Two thousand lines that name one image."""
    write(path.parent / "a.png", png(2000, 2000))
    return write(path, "a.png 1\n" * 2000)


BOMBS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "folder": ("", folder),
    "zip": ("", zipped),
    "tar": ("", tarred),
    "tar, compressed": ("", compressed_tar),
    "parquet": ("", parquet),
    "parquet, other columns": ("", other_columns),
    "parquet, a chosen column": ("parquet,image=image:", other_columns),
    "arrow": ("", arrow),
    "arrow, other views": ("", other_views),
    "hdf5, other datasets": ("", other_datasets),
    "tfrecord, many numbers": ("", many_numbers),
    "arrow, a file": ("", lambda path: arrow(path, file=True)),
    "hdf5": ("", hdf5),
    "bin": ("", pickled),
    "lmdb": ("", database),
    "lmdb, overlapping": ("", overlapping),
    "arrow, views": ("", views),
    "zip, a list": ("", long_list),
    "recordio": ("", records),
    "tfrecord": ("", tfrecord),
    "embeddings": ("", embeddings),
    "embeddings, texts": ("", texts),
    "embeddings, a table": ("", repeated),
    "grid": ("grid,cell=16:", sheets),
    "list": ("", image_list),
}


def test_every_reader_has_a_bomb() -> None:
    assert {name.partition(",")[0] for name in BOMBS} == set(FORMS)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux states it")
# One for each reader in CI, and the others at night.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if "," in name else name for name in BOMBS]
)
def test_a_bomb_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    prefix, make = BOMBS[name]
    place = f"{prefix}{make(tmp_path / 'bomb')}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    rule = "list:labels.txt" if make is long_list else "auto"
    words = [sys.executable, "-W", "ignore", "-c", CHILD, place, str(tmp_path / "out"), rule]
    done = subprocess.run(words, capture_output=True, text=True, timeout=250, env=environment)
    assert done.returncode == 0, f"{done.returncode} {done.stderr[-2000:]}"
    peak = re.search(r"peak (-?\d+)", done.stdout)
    assert peak is not None and int(peak[1]) < 1024 * MIB, done.stdout
    made = list((tmp_path / "out").rglob("*"))
    assert sum(file.stat().st_size for file in made if file.is_file()) < 2048 * MIB
    assert not [file for file in made if file.name.startswith(".")]


def test_scans_are_counted_where_they_cost_time() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    usual = encoded(noise, "JPEG", progressive=True)
    assert decode_rgb(usual).shape == (64, 64, 3)
    last = usual[usual.rfind(b"\xff\xda") : -2]
    assert decode_rgb(usual[:-2] + last * 40 + b"\xff\xd9").shape == (64, 64, 3)


def tiled(width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    """A grey TIFF of one tile, compressed by Deflate."""
    tile = zlib.compress(bytes(64 * 64))
    entries = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_width, 323: tile_height}
    entries |= {324: 8 + 2 + 12 * 10 + 4, 325: len(tile)}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4) + tile


def test_headers_that_cost_more_than_their_bytes_are_refused() -> None:
    plain = encoded(np.full((16, 16, 3), 9, np.uint8), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0"
    assert decode_rgb(plain[:2] + segment * 3 + plain[2:]).shape == (16, 16, 3)
    grey = b"P2 # a comment\n16 16 255\n" + b"7 " * 256
    assert decode_rgb(grey).shape == decode_rgb(b"P5\n# one\n16 16\n255\n" + bytes(256)).shape == (16, 16, 3)
    assert decode_rgb(tiled(64, 64, 64, 64)).shape == (64, 64, 3)
    for data, found in (
        (plain[:2] + segment * 2000 + plain[2:], "2000 segments of EXIF"),
        (b"P6\n" + b"#\n" * 500_000 + b"16 16 255\n" + bytes(768), "no header within"),
        (grey + b"#\n" * 500_000, "more than 1000 comments"),
        (tiled(64, 64, 32768, 65536), "a tile of 2147483648 pixels"),
    ):
        with pytest.raises(ImageError, match=found):
            decode_rgb(data)


def test_json_of_a_large_set_is_read(tmp_path: Path) -> None:
    rows = [[f"{i}.png", i % 3] for i in range(6)]
    for name, _ in rows:
        write(tmp_path / str(name), encoded(np.full((16, 16, 3), 9, np.uint8)))
    write(tmp_path / "dataset.json", json.dumps({"labels": rows}))
    from unveil.images import open_source

    assert len({record.person for record in open_source(tmp_path).records}) == 3
