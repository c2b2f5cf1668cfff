"""One set of images in every container, written by the libraries that users write them with where there is one."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.builders import drawn_faces, encoded
from unveil.images.readers.recordio import MAGIC_BYTES
from unveil.images.readers.tfrecord import masked_crc


@dataclass(frozen=True)
class Item:
    """An image: its number, person and file."""

    number: int
    person: int
    data: bytes
    pixels: npt.NDArray[np.uint8]

    @property
    def name(self) -> str:
        return f"{self.person:03d}/{self.number:08d}.png"


def drawn_items(n: int, each: int = 3, seed: int = 0) -> list[Item]:
    """Images of people who do not exist, ``each`` for every person."""
    faces = drawn_faces(n, seed)
    return [Item(i, i // each, encoded(face), face) for i, face in enumerate(faces)]


def folder(to: Path, items: Sequence[Item]) -> Path:
    for item in items:
        file = to / "folder" / item.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(item.data)
    return to / "folder"


def zipped(to: Path, items: Sequence[Item]) -> Path:
    with zipfile.ZipFile(to / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            archive.writestr(item.name, item.data)
    return to / "set.zip"


def stylegan(to: Path, items: Sequence[Item]) -> Path:
    """As StyleGAN3's dataset_tool writes it: stored, `00000/img00000000.png`, dataset.json in the root."""
    names = [f"{item.number // 1000:05d}/img{item.number:08d}.png" for item in items]
    with zipfile.ZipFile(to / "dataset.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, item in zip(names, items, strict=True):
            archive.writestr(name, item.data)
        labels = [[name, item.person] for name, item in zip(names, items, strict=True)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return to / "dataset.zip"


def tarred(to: Path, items: Sequence[Item]) -> Path:
    with tarfile.open(to / "set.tar", "w") as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.size = len(item.data)
            archive.addfile(info, io.BytesIO(item.data))
    return to / "set.tar"


def compressed(to: Path, items: Sequence[Item]) -> Path:
    plain = tarred(to, items)
    (to / "set.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return to / "set.tar.gz"


def webdataset(to: Path, items: Sequence[Item], shards: int = 3) -> Path:
    import webdataset as wds

    size = -(-len(items) // shards)
    for k in range(shards):
        with wds.TarWriter(str(to / f"wds-{k:03d}.tar")) as writer:
            for item in items[k * size : (k + 1) * size]:
                writer.write({"__key__": f"{item.number:08d}", "png": item.data, "cls": item.person})
    return to / f"wds-{{000..{shards - 1:03d}}}.tar"


def record(payload: bytes) -> bytes:
    """One record, cut where it holds the magic number, as dmlc's writer does."""
    parts: list[bytes] = []
    start = 0
    for at in range(0, len(payload) // 4 * 4, 4):
        if payload[at : at + 4] == MAGIC_BYTES:
            parts.append(payload[start:at])
            start = at + 4
    parts.append(payload[start:])
    out = b""
    for i, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if i == 0 else 3 if i == len(parts) - 1 else 2
        out += MAGIC_BYTES + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return out


def labelled(data: bytes, *labels: float, key: int = 0) -> bytes:
    """A payload as mxnet packs it: one label in the header, several behind it."""
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], key, 0) + data
    return struct.pack("<IfQQ", len(labels), 0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + data


def write_records(stem: Path, payloads: Sequence[bytes], *, idx: bool = True) -> Path:
    rec, lines = b"", []
    for key, payload in enumerate(payloads):
        lines.append(f"{key}\t{len(rec)}\n")
        rec += record(payload)
    stem.with_suffix(".rec").write_bytes(rec)
    if idx:
        stem.with_suffix(".idx").write_text("".join(lines))
    return stem.with_suffix(".rec")


def recordio(to: Path, items: Sequence[Item]) -> Path:
    return write_records(to / "plain", [labelled(i.data, i.person, key=i.number) for i in items])


def insightface(to: Path, items: Sequence[Item]) -> Path:
    """`train.rec` with InsightFace's record 0 and ranges of people at the end."""
    people = sorted({item.person for item in items})
    n = len(items) + 1
    images = [labelled(item.data, item.person, 1.0, key=item.number) for item in items]
    ranges = []
    for person in people:
        own = [k + 1 for k, item in enumerate(items) if item.person == person]
        ranges.append(labelled(b"", own[0], own[-1] + 1))
    write_records(to / "train", [labelled(b"", n, n + len(people)), *images, *ranges])
    (to / "property").write_text(f"{len(people)},112,112")
    return to / "train.rec"


def dcface(to: Path, items: Sequence[Item]) -> Path:
    """`record/{file.rec,file.idx,list.txt}`: the person is in the path of the list."""
    (to / "record").mkdir()
    write_records(to / "record/file", [labelled(item.data, 0) for item in items])
    (to / "record/list.txt").write_text("".join(f"{k}\t{item.name}\t0\n" for k, item in enumerate(items)))
    return to / "record"


def verification(to: Path, items: Sequence[Item]) -> Path:
    pairs = list(zip(items[::2], items[1::2], strict=False))
    bins = [np.frombuffer(item.data, np.uint8) if k % 2 else item.data for pair in pairs for k, item in enumerate(pair)]
    same = [a.person == b.person for a, b in pairs]
    (to / "lfw.bin").write_bytes(pickle.dumps((bins, same), protocol=4))
    return to / "lfw.bin"


def example(fields: Mapping[str, bytes | list[int]]) -> bytes:
    """A `tf.train.Example`."""
    entries = b""
    for name, value in fields.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        else:
            feature = message(3, message(1, b"".join(varint(v & (1 << 64) - 1) for v in value)))
        entries += message(1, message(1, name.encode()) + message(2, feature))
    return message(1, entries)


def message(number: int, data: bytes) -> bytes:
    """A field of a protobuf message that holds bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def write_tfrecords(path: Path, examples: Sequence[bytes]) -> Path:
    out = []
    for data in examples:
        length = struct.pack("<Q", len(data))
        out += [length, struct.pack("<I", masked_crc(length)), data, b"\0\0\0\0"]
    path.write_bytes(b"".join(out))
    return path


def tfrecord(to: Path, items: Sequence[Item]) -> Path:
    """StyleGAN's layout: one file a resolution, raw pixels by channel, one-hot labels beside them."""
    (to / "tf").mkdir()
    for level in (5, 6):
        step = 2 ** (6 - level)
        raw = [item.pixels[::step, ::step].transpose(2, 0, 1) for item in items]
        write_tfrecords(
            to / f"tf/faces-r{level:02d}.tfrecords",
            [example({"shape": list(p.shape), "data": p.tobytes()}) for p in raw],
        )
    people = np.array([item.person for item in items])
    np.save(to / "tf/labels.npy", np.eye(people.max() + 1, dtype=np.float32)[people])
    (to / "tf/labels.npy").rename(to / "tf/faces-rxx.labels")
    return to / "tf"


def write_lmdb(path: Path, entries: dict[bytes, bytes], *, subdir: bool = True) -> Path:
    import lmdb

    with lmdb.open(str(path), map_size=2**28, subdir=subdir) as env, env.begin(write=True) as txn:
        for key, value in entries.items():
            txn.put(key, value)
    return path


def lmdb_packed(to: Path, items: Sequence[Item]) -> Path:
    """As SOTA-FR and HSFace write it: decimal keys, msgpack of image and label."""
    import msgpack

    entries = {str(k).encode(): msgpack.dumps((item.data, item.person)) for k, item in enumerate(items)}
    extra = {
        b"__keys__": msgpack.dumps(list(entries)),
        b"__len__": msgpack.dumps(len(items)),
        b"__classnum__": msgpack.dumps(9),
    }
    return write_lmdb(to / "packed.lmdb", entries | extra, subdir=False)


def lmdb_plain(to: Path, items: Sequence[Item]) -> Path:
    """As rosinality writes it: one value a resolution."""
    entries = {f"256-{k:05d}".encode(): item.data for k, item in enumerate(items)}
    entries |= {f"128-{k:05d}".encode(): encoded(item.pixels[::2, ::2]) for k, item in enumerate(items)}
    return write_lmdb(to / "plain.lmdb", entries | {b"length": str(len(items)).encode()})


def parquet(to: Path, items: Sequence[Item]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pa.array([{"bytes": item.data, "path": f"{item.number:08d}.png"} for item in items])
    table = pa.table({"image": images, "label": pa.array([item.person for item in items])})
    pq.write_table(table, to / "train.parquet", row_group_size=max(1, len(items) // 3))
    return to / "train.parquet"


def arrow(to: Path, items: Sequence[Item]) -> Path:
    import pyarrow as pa

    table = pa.table({"jpg": pa.array([i.data for i in items]), "person": pa.array([str(i.person) for i in items])})
    with pa.ipc.new_stream(to / "data.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(items) // 3))
    return to / "data.arrow"


def hdf5(to: Path, items: Sequence[Item]) -> Path:
    import h5py

    with h5py.File(to / "raw.h5", "w") as file:
        pixels = np.stack([item.pixels for item in items])
        file.create_dataset(
            "images",
            data=pixels,
            chunks=(4, pixels.shape[1] // 2, pixels.shape[2] // 2, 3),
            compression="gzip",
            shuffle=True,
        )
        file["labels"] = [item.person for item in items]
    return to / "raw.h5"


def hdf5_encoded(to: Path, items: Sequence[Item]) -> Path:
    import h5py

    with h5py.File(to / "encoded.h5", "w") as file:
        group = file.create_group("train")
        rows = group.create_dataset("images", (len(items),), dtype=h5py.vlen_dtype(np.uint8))
        for k, item in enumerate(items):
            rows[k] = np.frombuffer(item.data, np.uint8)
        group["people"] = [str(item.person) for item in items]
        group["people"].parent["label"] = [str(item.person) for item in items]
    return to / "encoded.h5"


def grid(to: Path, items: Sequence[Item], gap: int = 0) -> Path:
    """One sheet a person, four cells wide, the last row filled with black."""
    (to / "sheets").mkdir()
    side = items[0].pixels.shape[0]
    for person in sorted({item.person for item in items}):
        cells = [item.pixels for item in items if item.person == person]
        rows = -(-len(cells) // 4)
        sheet = np.zeros((rows * (side + gap) + gap, 4 * (side + gap) + gap, 3), np.uint8)
        for k, cell in enumerate(cells):
            top, left = gap + k // 4 * (side + gap), gap + k % 4 * (side + gap)
            sheet[top : top + side, left : left + side] = cell
        (to / f"sheets/{person:03d}.png").write_bytes(encoded(sheet))
    return to / "sheets"


# Every container with the number that an id holds, and how its source is named.
Writer = Callable[[Path, Sequence[Item]], Path]
WRITERS: dict[str, Writer] = {
    "folder": folder,
    "zip": zipped,
    "StyleGAN zip": stylegan,
    "tar": tarred,
    "compressed tar": compressed,
    "WebDataset": webdataset,
    "RecordIO": recordio,
    "InsightFace": insightface,
    "DCFace": dcface,
    "verification set": verification,
    "TFRecord": tfrecord,
    "LMDB, msgpack": lmdb_packed,
    "LMDB, plain": lmdb_plain,
    "Parquet": parquet,
    "Arrow": arrow,
    "HDF5, raw": hdf5,
    "HDF5, encoded": hdf5_encoded,
}


def number_in(id: str, container: str) -> int:
    """The number of the image that an id of a container stands for."""
    digits = "".join(c for c in id.rpartition("/")[2].removeprefix("256-") if c.isdecimal())
    return int(digits) - (container == "InsightFace")
