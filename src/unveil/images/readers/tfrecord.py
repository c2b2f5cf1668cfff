"""TFRecords: StyleGAN's raw pictures, one file a resolution, and files of encoded pictures."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.decode import netpbm
from unveil.images.label_rule import LabelRule
from unveil.images.readers.npy import parse_npy
from unveil.images.source import MAX_FILE_BYTES, Source, numbered
from unveil.types import ImageRecord

_LENGTH = struct.Struct("<QI")
_CRC = 4
# What converters call an encoded picture and its label.
ENCODED = ("image/encoded", "image_raw", "image", "encoded", "img", "jpg", "png")
LABELS = ("label", "image/class/label", "class", "identity", "id")
# A record holds a picture and a few numbers.
MAX_RECORD = MAX_FILE_BYTES + 2**16
# Of the file of labels; a million pictures with a thousand one-hot labels take four.
MAX_LABELS = 2**33


class TFRecordSource(Source):
    """Every example of a TFRecord file. StyleGAN's labels lie in a `*-rxx.labels` file beside it."""

    kind = "TFRecord"

    def __init__(self, blob: Blob, rule: LabelRule) -> None:
        super().__init__(blob.where, rule)
        self.blob = blob
        spans = list(_records(blob))
        if not spans:
            raise SourceError(f"{blob.where}: no records in it")
        ids = numbered(range(len(spans)))
        labels = _stylegan_labels(blob, len(spans))
        named = {id: label for id, label in zip(ids, labels, strict=True) if label is not None}
        if not labels or not named:
            named = dict(self._own_labels(ids, spans))
        self._set_records(
            ((id, f"{at} {length}") for id, (at, length) in zip(ids, spans, strict=True)), labels=named, in_order=True
        )

    def _own_labels(self, ids: list[str], spans: list[tuple[int, int]]) -> Iterator[tuple[str, str]]:
        """Labels in the examples themselves; StyleGAN's have none, so the first tells whether to look at all."""
        for n, (id, (at, length)) in enumerate(zip(ids, spans, strict=True)):
            try:
                example = parse_example(self.blob.exactly(at, length, MAX_RECORD))
            except ImageError:
                continue
            value = next((example[name] for name in LABELS if name in example), None)
            if value is None and n == 0:
                return
            if isinstance(value, list) and len(value) == 1:
                yield id, str(value[0])
            elif isinstance(value, bytes):
                yield id, value.decode("utf-8", "backslashreplace")

    def read(self, record: ImageRecord) -> bytes:
        at, length = (int(v) for v in record.key.split())
        example = parse_example(self.blob.exactly(at, length, MAX_RECORD))
        if isinstance(example.get("data"), bytes) and isinstance(example.get("shape"), list):
            return _raw(example["data"], example["shape"], at)  # type: ignore[arg-type]
        for name in ENCODED:
            value = example.get(name)
            if isinstance(value, bytes):
                return value
        raise ImageError("read", "no image in the record", f"at byte {at}: fields {', '.join(sorted(example))[:200]}")


def _raw(data: bytes, shape: list[int], at: int) -> bytes:
    """Raw pixels by channel, as StyleGAN writes them."""
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1 or shape[0] * shape[1] * shape[2] != len(data):
        raise ImageError(
            "read", "damaged record", f"at byte {at}: {len(data)} bytes for a picture of shape {shape[:4]}"
        )
    planes = np.frombuffer(data, np.uint8).reshape(shape)
    pixels = np.empty((shape[1], shape[2], shape[0]), np.uint8)
    for channel, plane in enumerate(planes):
        pixels[..., channel] = plane
    return netpbm(pixels)


def _records(blob: Blob) -> Iterator[tuple[int, int]]:
    """Where each record's data lie; SourceError with the byte where the file is damaged."""
    at = 0
    while at < blob.size:
        head = blob.read(at, _LENGTH.size)
        if not begins_record(head):
            raise SourceError(
                f"{blob.where}: damaged, no record begins at byte {at} of {blob.size}; get the file again"
            )
        length, _ = _LENGTH.unpack(head)
        start = at + _LENGTH.size
        at = start + length + _CRC
        if at > blob.size:
            raise SourceError(f"{blob.where}: ends in the record at byte {start} of {blob.size}; get the file again")
        yield start, length


def begins_record(head: bytes) -> bool:
    """Whether 12 bytes are the length of a record and its checksum."""
    if len(head) < _LENGTH.size:
        return False
    _, told = _LENGTH.unpack_from(head)
    crc = _crc32c(head[:8])
    return bool(told == (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF))


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def _crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720), of a few bytes: lengths are checked, pictures are not."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _stylegan_labels(blob: Blob, n: int) -> list[str | None]:
    """The labels of `NAME-rxx.labels`, beside `NAME-r07.tfrecords`; empty when there are none."""
    stem, _, resolution = blob.name.removesuffix(".tfrecords").rpartition("-r")
    beside = blob.beside(f"{stem}-rxx.labels") if resolution.isdecimal() else None
    if beside is None:
        return []
    try:
        labels = parse_npy(beside.whole(MAX_LABELS))
    except ValueError as error:
        raise SourceError(f"{beside.where}: labels as a NumPy array were expected, got {error}") from None
    if not labels.ndim or labels.dtype.kind not in "iuf":
        raise SourceError(f"{beside.where}: numbers were expected, got shape {labels.shape} of {labels.dtype}")
    if len(labels) < n:
        raise SourceError(f"{beside.where}: {len(labels)} labels for {n} pictures")
    return _classes(labels[:n])


def _classes(labels: npt.NDArray[Any]) -> list[str | None]:
    """Whole numbers, or the places of ones in one-hot rows, as labels; None for any other row."""
    if labels.ndim == 1:
        return [str(int(v)) if float(v).is_integer() else None for v in labels.tolist()]
    rows = labels.reshape(len(labels), -1)
    hot = ((rows == 1).sum(1) == 1) & ((rows == 0).sum(1) == rows.shape[1] - 1)
    return [str(k) if one else None for k, one in zip(rows.argmax(1).tolist(), hot.tolist(), strict=True)]


def parse_example(data: bytes) -> dict[str, bytes | list[int]]:
    """The fields of a `tf.train.Example`: bytes, or whole numbers; others are left out. PictureError when damaged."""
    fields: dict[str, bytes | list[int]] = {}
    for number, features in _fields(data):
        if number != 1 or not isinstance(features, bytes):
            continue
        for _, entry in _fields(features):
            if not isinstance(entry, bytes):
                continue
            parts = {n: value for n, value in _fields(entry) if isinstance(value, bytes)}
            name = parts.get(1, b"").decode("utf-8", "backslashreplace")
            for kind, value in _fields(parts.get(2, b"")):
                if kind == 1 and isinstance(value, bytes):
                    fields[name] = next((v for _, v in _fields(value) if isinstance(v, bytes)), b"")
                elif kind == 3 and isinstance(value, bytes):
                    fields[name] = list(_numbers(value))
    return fields


def _numbers(data: bytes) -> Iterator[int]:
    """An Int64List, packed or not."""
    for _, value in _fields(data):
        if isinstance(value, bytes):
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                yield _signed(number)
        else:
            yield _signed(value)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ImageError("read", "damaged record", f"protobuf wire type {kind}")
        if at + length > len(data):
            raise ImageError("read", "damaged record", f"a field of {length} bytes where {len(data) - at} are left")
        if kind == 2:
            yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number & (1 << 64) - 1, at
        shift += 7
    raise ImageError("read", "damaged record", "a number without an end")


def highest_resolution(files: list[Path]) -> Path | None:
    """Of StyleGAN's files, one a resolution, that of the highest; None when they are not of one set."""
    parts = {file: file.name.removesuffix(".tfrecords").rpartition("-r") for file in files}
    if len({stem for stem, _, _ in parts.values()}) != 1 or not all(r.isdecimal() for _, _, r in parts.values()):
        return None
    return max(files, key=lambda file: int(parts[file][2]))
