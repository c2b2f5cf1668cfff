"""TFRecords: StyleGAN's raw images, one file a resolution, and files of encoded images."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.decode import netpbm
from unveil.images.image_like import MAX_TEXT, is_large, kind_of, may_be_image
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import check_exact, label_of
from unveil.images.labels import labels_beside
from unveil.images.readers.columns import PERSON_NAMES, SeveralImagesError, choose_labels, several_images
from unveil.images.readers.parts import Part, notes_of_unread
from unveil.images.readers.tf_example import Value, parse_example
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, numbered_ids
from unveil.io.npy import parse_npy
from unveil.types import ImageRecord

_LENGTH = struct.Struct("<QI")
_CRC = 4
# What converters call an encoded image and its label.
ENCODED = ("image/encoded", "image_raw", "image", "encoded", "img", "jpg", "png")
LABELS = (*PERSON_NAMES, "image/class/label", "class", "cls", "id")
# A record holds an image and a few numbers.
MAX_RECORD = MAX_FILE_BYTES + 2**16
# Examples at the start, and as many of the others, that are looked at for a label.
MAX_UNLABELLED = 1000
# Features of all records together that a note may name.
MAX_FEATURES = 1000
# Records after which their number is checked again.
CHECKED = 2**16
# Digits of a resolution.
MAX_DIGITS = 3
# Bytes of the file of labels; a million images with a thousand one-hot labels take 4 GB.
MAX_LABELS = 2**33


class TFRecordSource(Source):
    """Every example of a TFRecord file. StyleGAN stores labels in a `*-rxx.labels` file beside it.

    The option ``image`` names the feature of the images. Without it, an example with several images is an error.
    """

    kind = "TFRecord"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.blob, self.options = blob, options or {}
        spans = []
        for span in _records(blob):
            spans.append(span)
            if len(spans) % CHECKED == 0:
                check_row_count(len(spans), blob)
        if not spans:
            raise SourceError(f"{blob.where}: no records in it")
        self._label: str | None = None
        # The features that records have, with their types.
        self._features: dict[str, str] = {}
        self._check_first(*spans[0])
        labels = _stylegan_labels(blob, len(spans))
        stated = labels is not None
        self.people_name = "the file of labels" if stated else None
        if labels is None or not any(labels):
            labels = self._own_labels(spans) if rule.may_use_labels else [None] * len(spans)
        self._set_records(
            (
                Entry(name, f"{at} {length}", label)
                for name, (at, length), label in zip(numbered_ids(range(len(spans))), spans, labels, strict=True)
            ),
            states_labels=stated,
            listed=labels_beside(rule, blob),
            in_order=True,
        )
        read = {self.options.get("image"), "shape", "data", self._label}
        read.add(next((name for name in ENCODED if name in self._features), None))
        parts = [Part(name, kind, False) for name, kind in self._features.items() if name not in read]
        self.notes += notes_of_unread(blob.where, "", parts, chosen=True)

    def _own_labels(self, spans: list[tuple[int, int]]) -> list[str | None]:
        """The labels in the examples themselves.

        Labels are looked for in a sample of the examples; only when there is one, all examples are read.
        """
        n = len(spans)
        first = range(min(n, MAX_UNLABELLED))
        later = map(int, np.linspace(len(first), n - 1, MAX_UNLABELLED)) if n > len(first) else ()
        found: dict[str, dict[int, str]] = {name: {} for name in LABELS}
        floats: dict[str, list[float]] = {}
        for row in dict.fromkeys((*first, *later)):
            example = self._add_labels(spans[row], row, found, floats)
            # Of the later ones, a large feature that no earlier one has is no habit of the set.
            self._note_features(example if row in first else {})
        if any(found.values()):
            for row in range(n):
                self._note_features(self._add_labels(spans[row], row, found, floats))
        chosen = choose_labels(found, LABELS, n, self.rule.chosen_name)
        self._label = self.people_name = chosen.name
        self.stated = dict(chosen.stated)
        self.notes += [chosen.note] if chosen.note else []
        check_exact(np.array(floats.get(chosen.name or "", []), np.float32))  # they are stored in 32 bits
        return chosen.labels

    def _add_labels(
        self, span: tuple[int, int], row: int, found: dict[str, dict[int, str]], floats: dict[str, list[float]]
    ) -> dict[str, bytes | list[Value]]:
        """Adds what an example states under each of `LABELS`. Returns the example; a damaged one becomes a reject."""
        try:
            example = parse_example(self.blob.read_exactly(*span, MAX_RECORD))
        except ImageError:
            return {}
        for name in LABELS:
            value = example.get(name)
            if value is not None and (label := label_of(value)) is not None:
                found[name][row] = label
                if isinstance(value, list):
                    floats.setdefault(name, []).extend(x for x in value if isinstance(x, float))
        return example

    def _check_first(self, at: int, length: int) -> None:
        """SourceError when the first example holds several images; a damaged one becomes a reject."""
        with contextlib.suppress(ImageError):
            example = parse_example(self.blob.read_exactly(at, length, MAX_RECORD))
            self._note_features(example)
            try:
                self._feature(example, at)
            except SeveralImagesError as error:
                raise SourceError(f"{self.blob.where}: {error}") from None

    def _note_features(self, example: dict[str, bytes | list[Value]]) -> None:
        for name, value in example.items():
            if name not in self._features and len(self._features) < MAX_FEATURES:
                self._features[name] = kind_of(value)

    def read(self, record: ImageRecord) -> bytes:
        at, length = (int(v) for v in record.key.split())
        example = parse_example(self.blob.read_exactly(at, length, MAX_RECORD))
        name = self._feature(example, at)
        data, shape = example.get(name), example.get("shape")
        if name == "data" and isinstance(data, bytes) and isinstance(shape, list):
            return _raw(data, shape, at)
        return bytes(data) if isinstance(data, bytes) else b""

    def _feature(self, example: dict[str, bytes | list[Value]], at: int) -> str:
        """The feature that holds the image; ImageError when there is none, or when there are several and no choice."""
        of_bytes = {name: value for name, value in example.items() if isinstance(value, bytes)}
        chosen = self.options.get("image")
        raw = ["data"] if isinstance(example.get("shape"), list) else []
        names = [chosen] if chosen is not None else [*raw, *ENCODED]
        found = next((name for name in names if name in of_bytes), None)
        if found is None:
            fields = ", ".join(sorted(example))[:200]
            raise ImageError(
                "read", "no image in the record", f"at byte {at}: fields {fields}; choose one by image=NAME"
            )
        if chosen is None:
            others = [
                name
                for name, value in example.items()
                if name != found
                and (may_be_image(value) or (name not in self._features and is_large(value)))
                and not (name in LABELS and isinstance(value, list) and label_of(value) is not None)
            ]
            unread = [value for name, value in of_bytes.items() if name != found]
            if not others and (len(example) > MAX_FEATURES or sum(map(len, unread)) > MAX_TEXT):
                others = [f"{len(example) - 1} features together"]
            if others:
                raise several_images(found, others, f"at byte {at}")
        return found


def _raw(data: bytes, shape: list[Value], at: int) -> bytes:
    """Raw pixels by channel, as StyleGAN writes them, as an image file."""
    sides = [n for n in shape if isinstance(n, int)]
    if len(sides) != 3 or sides[0] not in (1, 3) or min(sides) < 1 or sides[0] * sides[1] * sides[2] != len(data):
        raise ImageError("read", "damaged record", f"at byte {at}: {len(data)} bytes for an image of shape {shape[:4]}")
    planes = np.frombuffer(data, np.uint8).reshape(sides)
    pixels = np.empty((sides[1], sides[2], sides[0]), np.uint8)
    for channel, plane in enumerate(planes):
        pixels[..., channel] = plane
    return netpbm(pixels)


def _records(blob: Blob) -> Iterator[tuple[int, int]]:
    """Offset and length of the data of each record; SourceError with the byte where the file is damaged."""
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
    _, stated = _LENGTH.unpack_from(head)
    return bool(stated == masked_crc(head[:8]))


def masked_crc(data: bytes) -> int:
    """The checksum of TFRecord: CRC-32C, rotated and offset."""
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def _crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720) of a few bytes: lengths are checked, images are not."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _stylegan_labels(blob: Blob, n: int) -> list[str | None] | None:
    """The labels in `NAME-rxx.labels`, beside `NAME-r07.tfrecords`; None when there is no such file."""
    stem, _, resolution = blob.name.removesuffix(".tfrecords").rpartition("-r")
    file = blob.sibling(f"{stem}-rxx.labels") if resolution.isdecimal() else None
    if file is None:
        return None
    try:
        labels = parse_npy(file.read_all(MAX_LABELS))
    except ValueError as error:
        raise SourceError(f"{file.where}: labels as a NumPy array were expected, got {error}") from None
    if not labels.ndim or labels.dtype.kind not in "iuf":
        raise SourceError(f"{file.where}: numbers were expected, got shape {labels.shape} of {labels.dtype}")
    if len(labels) < n:
        raise SourceError(f"{file.where}: {len(labels)} labels for {n} images")
    check_exact(labels)
    return _classes(labels[:n])


def _classes(labels: npt.NDArray[Any]) -> list[str | None]:
    """Whole numbers, or the index of the one in each one-hot row, as labels; None for any other row."""
    if labels.ndim == 1 or labels[0].size == 1:
        return [label_of(v) if float(v).is_integer() else None for v in labels.reshape(len(labels)).tolist()]
    rows = labels.reshape(len(labels), -1)
    hot = ((rows == 1).sum(1) == 1) & ((rows == 0).sum(1) == rows.shape[1] - 1)
    return [str(k) if one else None for k, one in zip(rows.argmax(1).tolist(), hot.tolist(), strict=True)]


def highest_resolution(files: list[Path]) -> Path | None:
    """Of StyleGAN's files, one a resolution, the one of the highest; None when the files are not of one set."""
    parts = [_stem_and_resolution(file) for file in files]
    if len({stem for stem, _ in parts}) != 1 or not all(r.isdecimal() and len(r) < MAX_DIGITS for _, r in parts):
        return None
    return max(files, key=resolution_of)


def resolution_of(file: Path) -> int:
    """The resolution in the name of a file, as a power of two."""
    return int(_stem_and_resolution(file)[1])


def _stem_and_resolution(file: Path) -> tuple[str, str]:
    stem, _, resolution = file.name.removesuffix(".tfrecords").rpartition("-r")
    return stem, resolution
