"""LMDB databases, in the dialects that face sets are written in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgpack
import numpy as np

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images.blob import Blob
from unveil.images.decode import netpbm
from unveil.images.image_like import MAX_TEXT, is_large, kind_of, may_be_image, shows_image
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import label_of
from unveil.images.labels import labels_beside
from unveil.images.readers.columns import SeveralImagesError, several_images
from unveil.images.readers.lmdb_pages import Reached, Value, entries
from unveil.images.readers.parts import Part, notes_of_unread
from unveil.images.readers.resolutions import compared_with
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, printable
from unveil.io.npy import parse_npy
from unveil.io.unique_keys import KeyTwiceError, every_key_once
from unveil.types import ImageRecord

# Metadata that writers store among the images.
METADATA = (b"length", b"__len__", b"__keys__", b"__classnum__", b"__meta_info__", b"num-samples", b"classnum")
# rosinality's StyleGAN2 writes every image in several resolutions: `256-00012`.
_RESOLUTION = re.compile(rb"([1-9]\d{0,5})-(\d+)")
# Byte strings of msgpack: the first byte, and how many bytes hold the length.
_BYTE_STRINGS = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}
MAX_LABEL = 4096
# Bytes of pages that writers leave unused: any file may have so many, or one in so many.
SPARE_PAGES, SPARE_SHARE = 2**16, 100
# Items of a list or map in a value; an empty list is one byte in the file and 64 in memory.
MAX_ITEMS = 2**16
# Values up to this lie on one or two pages of memory, so that reading a part of them is no gain.
SMALL_VALUE = 8192
# Of a list of keys, for each image.
BYTES_PER_KEY = 64
# Bytes of a mask: 100 million numbers of 8 bytes.
MAX_MASK = 800 * 2**20


class _KeyTwiceError(ImageError):
    """A map of msgpack has a key twice."""


class LMDBSource(Source):
    """Every image of an LMDB: plain values are image files, others msgpack of (image, ..., label).

    Of a set in several resolutions only the highest is read, and a note says so. The option ``mask`` names a `.npy`
    file beside the database that selects images: a truth value for each, or their numbers, in the order of the keys.
    The option ``image`` is the place of the image in msgpack, from 0. Without it, several images are an error.
    """

    kind = "LMDB"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.blob = blob
        self.options = options or {}
        self._mask, place = self.options.get("mask"), self.options.get("image")
        if place is not None and not (place.isdecimal() and len(place) < 5):
            raise SettingError(f"{blob.where}: image should be the place of the image in msgpack, from 0, not {place}")
        self._place = None if place is None else int(place)
        self.resolution: int | None = None
        # The items of a value, by the first one; None where it is not yet read.
        self._n_items: int | None = None
        found = self.images()
        self._packed = self._is_packed(found)
        uses_labels = self._packed and rule.may_use_labels
        if rule.kind == "auto" and not uses_labels and any(b"\0" in key for key, _ in found):
            # The byte of a slash in such a key separates no folder.
            self.rule, self.reason = LabelRule("none"), "its keys are binary numbers"
        self._set_records(
            (
                Entry(
                    printable(key.decode("utf-8", "surrogateescape")),
                    f"{value.at} {value.length}",
                    self._label(value) if uses_labels else None,
                )
                for key, value in found
            ),
            states_labels=uses_labels,
            listed=labels_beside(rule, blob),
            in_order=True,
        )

    def images(self) -> list[tuple[bytes, Value]]:
        """Key and value of each image, in the order of the records."""
        reached = Reached()
        every = list(entries(self.blob, reached))
        if reached.unreached > max(SPARE_PAGES, self.blob.size // SPARE_SHARE):
            self.unread.add("bytes of pages to which no key leads", n=reached.unreached)
        check_row_count(len(every), self.blob)
        found = [(key, value) for key, value in every if key not in METADATA]
        if not found:
            raise SourceError(f"{self.where}: an LMDB without images")
        for key, value in every:
            if key in METADATA:
                self._check_metadata(key, value, len(found))
        found = self._highest(found)
        if all(key.isdigit() for key, _ in found):
            # LMDB sorts b"10" before b"2".
            found.sort(key=lambda item: (len(item[0].lstrip(b"0")), item[0].lstrip(b"0"), item[0]))
        return found if self._mask is None else self._masked(found, self._mask)

    def read(self, record: ImageRecord) -> bytes:
        at, length = (int(v) for v in record.key.split())
        data = self.blob.read_exactly(at, length, MAX_FILE_BYTES + 2**20)
        if not self._packed:
            return data
        image = self._image(_unpack(data, at), at)
        return _array(image, at) if isinstance(image, dict) else image

    def _image(self, items: list[Any], at: int) -> bytes | dict[Any, Any]:
        """The image in a value; ImageError when it holds none at that place, or several and no place is given."""
        image = items[self._place or 0] if (self._place or 0) < len(items) else None
        if not isinstance(image, (bytes, dict)):
            raise ImageError("read", "no image in the record", f"at byte {at}: no bytes at place {self._place}")
        if self._place is not None:
            return image
        last = len(items) if self._n_items is None else self._n_items
        others = [k for k, item in enumerate(items) if k and (_is_image(item) or (k >= last and is_large(item)))]
        if isinstance(image, dict):
            others += [0] if may_be_image([v for k, v in image.items() if k not in ("data", b"data")]) else []
        if others:
            raise several_images(0, others, f"at byte {at}")
        return image

    def _check_metadata(self, key: bytes, value: Value, n: int) -> None:
        """SourceError when a value that is no image by its key may hold one."""
        limit = MAX_TEXT + BYTES_PER_KEY * n
        if value.length > limit or shows_image(self.blob.read_exactly(value.at, value.length, limit)):
            raise SourceError(
                f"{self.where}: expected a count or a list of keys in {key.decode()}, found {value.length} bytes that "
                "may hold images. Remove it, or give the images keys of their own"
            )

    def _highest(self, found: list[tuple[bytes, Value]]) -> list[tuple[bytes, Value]]:
        """The entries of the highest resolution, where keys state resolutions; all where the images contradict them."""
        keys = [_RESOLUTION.fullmatch(key) for key, _ in found]
        values: dict[int, dict[bytes, Value]] = {}
        for key, (_, value) in zip(keys, found, strict=True):
            if key is None:
                return found
            values.setdefault(int(key[1]), {})[key[2]] = value
        highest, *lower = sorted(values, reverse=True)
        high, notes = values[highest], list[str]()
        for side in lower:
            numbers = [number for number in values[side] if number in high]
            large, small = [high[number] for number in numbers], [values[side][number] for number in numbers]
            files = partial(self._file, large), partial(self._file, small)
            sample = compared_with(len(numbers), *files, side / highest)
            if not numbers or not sample.is_one:
                return found  # such as the number of a person, and that of the image
            note = sample.note(f"{len(numbers)} images of {side} pixels", f"{highest} pixels")
            notes += [] if note is None else [note]
        alone = [key[0] for key in keys if key and key[2] not in high]
        if alone:
            raise SourceError(
                f"{self.where}: expected every image in {highest} pixels, found {len(alone)} that are stored in fewer "
                f"alone, such as `{alone[0].decode()}`. Copy them into a file of their own"
            )
        self.resolution = highest
        if lower:
            self._note(f"of {len(found)} images in several resolutions, the {len(high)} of {highest} pixels are read")
        for note in notes:
            self._note(note)
        return [item for item, key in zip(found, keys, strict=True) if key and int(key[1]) == highest]

    def _file(self, values: list[Value], number: int) -> bytes:
        value = values[number]
        return self.blob.read_exactly(value.at, value.length, MAX_FILE_BYTES)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _masked(self, found: list[tuple[bytes, Value]], name: str) -> list[tuple[bytes, Value]]:
        """The entries that a mask beside the file selects; SourceError when it is missing or does not fit."""
        file = self.blob.sibling(name) if "/" not in name and "\\" not in name else None
        if file is None:
            raise SourceError(f"{self.where}: there is no file {name} beside it, which mask= names")
        try:
            mask = parse_npy(file.read_all(MAX_MASK))
        except ValueError as error:
            raise SourceError(f"{file.where}: a NumPy array was expected, got {error}") from None
        if mask.ndim == 1 and mask.dtype == np.bool_ and len(mask) == len(found):
            rows = np.flatnonzero(mask)
        elif mask.ndim == 1 and mask.dtype.kind in "iu" and mask.min() >= 0 and mask.max() < len(found):
            rows = np.unique(mask)
        else:
            raise SourceError(
                f"{file.where}: one truth value for each of the {len(found)} images, or their numbers, were expected, "
                f"got shape {mask.shape} of {mask.dtype}"
            )
        if not len(rows):
            raise SourceError(f"{file.where}: the mask selects no image")
        self.left_out = len(found) - len(rows)
        self._note(f"of {len(found)} images, the mask {name} selects {len(rows)}")
        return [found[row] for row in rows.tolist()]

    def _is_packed(self, found: Sequence[tuple[bytes, Value]]) -> bool:
        """Whether the first value is msgpack rather than an image file."""
        _, value = found[0]
        try:
            data = self.blob.read_exactly(value.at, value.length, MAX_FILE_BYTES)
            items = _unpack(data, value.at)
        except _KeyTwiceError:
            # A list becomes a reject. PNG files begin like a map, whose keys come twice.
            return data[0] >> 4 == 9 or data[:1] in (b"\xdc", b"\xdd")
        except ImageError:
            return False
        self._n_items = len(items)
        parts = [Part(f"item {k} of the values", kind_of(item), False) for k, item in enumerate(items[:-1])]
        del parts[(self._place or 0) : (self._place or 0) + 1]
        for note in notes_of_unread(self.where, "", parts, chosen=True):
            self._note(note)
        try:
            self._image(items, value.at)
        except SeveralImagesError as error:
            raise SourceError(f"{self.blob.where}: {error}") from None
        except ImageError:
            return True  # one of many, which becomes a reject
        return True

    def _label(self, value: Value) -> str | None:
        """The label of one value; None when it has none or is damaged."""
        try:
            return label_of(self._last(value))
        except ImageError:
            return None

    def _last(self, value: Value) -> object:
        """The last item of a value. Byte strings before it are skipped, so that labels cost no reading of images."""
        if value.length <= SMALL_VALUE:
            # One read is faster than three.
            return _unpack(self.blob.read_exactly(value.at, value.length, SMALL_VALUE), value.at)[-1]
        head = self.blob.read(value.at, 6)
        items, skipped, head = head[0] & 0x0F if head and head[0] >> 4 == 9 else 0, 1, head[1:]
        for _ in range(items - 1):
            size = _BYTE_STRINGS.get(head[:1], 0)
            if not size or len(head) < 1 + size:
                break
            skipped += 1 + size + int.from_bytes(head[1 : 1 + size], "big")
            head = self.blob.read(value.at + skipped, 5)
        else:
            if items > 1 and 0 < value.length - skipped <= MAX_LABEL:
                return _parse(self.blob.read_exactly(value.at + skipped, value.length - skipped, MAX_LABEL), value.at)
        return _unpack(self.blob.read_exactly(value.at, value.length, MAX_FILE_BYTES), value.at)[-1]


def _unpack(data: bytes, at: int) -> list[Any]:
    """(image, ..., label) as msgpack; msgpack checks the lengths in it against ``data``."""
    value = _parse(data, at)
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], (bytes, dict)):
        raise ImageError("read", "no image in the record", f"at byte {at}: msgpack of {type(value).__name__}")
    return value


def _is_image(item: object) -> bool:
    """Whether an item of msgpack may be an image: a file, numbers, or an array of pixels."""
    if may_be_image(item):
        return True
    with contextlib.suppress(ImageError):
        return isinstance(item, dict) and bool(_array(item, 0))
    return False


def _parse(data: bytes, at: int) -> Any:
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            object_pairs_hook=lambda pairs: every_key_once(pairs, _text),
        )
    except KeyTwiceError:
        raise _KeyTwiceError("read", "damaged record", f"at byte {at}: a map has a key twice") from None
    except Exception as error:  # damaged data raise almost anything
        raise ImageError("read", "damaged record", f"at byte {at}: {type(error).__name__}: {error}") from None


def _text(key: Any) -> Any:
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key


def _array(packed: dict[Any, Any], at: int) -> bytes:
    """Raw pixels as msgpack-numpy writes them, as an image file."""
    plain = {_text(key): value for key, value in packed.items()}
    shape, data, kind = plain.get("shape"), plain.get("data"), plain.get("type")
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
    if (
        not isinstance(data, bytes)
        or not isinstance(shape, list)
        or len(shape) != 3
        or not all(isinstance(n, int) and n > 0 for n in shape)
        or shape[2] not in (1, 3)
        or shape[0] * shape[1] * shape[2] != len(data)
        or kind not in ("|u1", "u1")
    ):
        raise ImageError("read", "damaged record", f"at byte {at}: an array that is no image")
    return netpbm(np.frombuffer(data, np.uint8).reshape(shape))
