"""What an HDF5 file holds beside the dataset of images: every value is looked at, wherever it is stored."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unveil.images.blob import Blob
from unveil.images.image_like import (
    MAX_OPAQUE,
    MAX_TEXT,
    MIN_PIXELS,
    may_be_image,
    may_be_pixels,
    most_looked_at,
    opaque,
    texts_show_images,
)
from unveil.images.readers.parts import Part

if TYPE_CHECKING:
    from unveil.images.readers.hdf5 import Contents, Table

# Bytes that are looked at together.
BLOCK = 2**22
# Before the first address.
NOWHERE = np.uint64(2**64 - 1)
# What a heap and an object in it count for: to list them takes as long as to read so many bytes.
HEAP, OBJECT = 4096, 64
# Rows of single pixels: an image in grey or colour, as one dataset.
CHANNELS = (1, 3, 4)
_POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
# No object, in a reference.
_NONE = (0, 2**64 - 1)


def unread_parts(contents: Contents, used: str, named: Collection[str | None], size: int) -> list[Part]:
    """The datasets and attributes of a file of ``size`` bytes beside the dataset ``used``.

    Datasets in ``named`` are read as labels; they are parts only where they may be images.
    """
    looked = _Looked(contents, used, size)
    parts = []
    for path, table in contents.tables.items():
        images = path != used and looked.may_hold_images(table)
        if images or (path != used and path not in named):
            parts.append(Part(path, described(table), images, option=table.holds_images))
    single = [path for path, table in contents.tables.items() if len(table.shape) < 2 and table.dtype.kind in "iufb"]
    if len(single) >= MIN_PIXELS:
        parts.append(Part(f"{len(single)} datasets of numbers", "together", True))
    n = 0
    for path, item in contents.items:
        for name, value in dict(item.attrs).items():
            n += 1
            if may_be_image(value) or looked.leads_elsewhere(value):
                parts.append(Part(f"the attribute {name} of {path or '/'}", type(value).__name__, True))
    return [*parts, Part("attributes", str(n), False)] if n else parts


def parts_around(contents: Contents, blob: Blob) -> list[Part]:
    """What a file has before its data, as MATLAB writes it, and behind them."""
    parts = []
    for name, at, end in (("before", 0, contents.start), ("behind", contents.end, blob.size)):
        if end > at:
            data = blob.read(at, min(end - at, MAX_OPAQUE + 1))
            parts.append(Part(f"bytes {name} the data", str(end - at), opaque(data)))
    return parts


def described(table: Table) -> str:
    """The shape of a row of a dataset, and the type in words."""
    if table.text or table.dtype.kind == "S":
        kind = "text"
    elif table.variable:
        kind = f"lists of {table.type.base_dtype.dtype}"
    else:
        kind = type(table.type).__name__.removeprefix("P5").removesuffix("Type").lower()
        kind = str(table.dtype) if kind in ("integer", "float") else kind
    return f"{' x '.join(map(str, table.shape[1:]))} {kind}".strip()


class _Looked:
    """Datasets that are looked at, as long as they take no more than a set of images."""

    def __init__(self, contents: Contents, used: str, size: int) -> None:
        self._n, self._objects, self._left = len(contents.tables[used]), contents.addresses, most_looked_at(size)

    def may_hold_images(self, table: Table) -> bool:
        """Whether a dataset may hold images; True where it cannot be read."""
        try:
            return self._may_hold_images(table)
        except Exception:  # a damaged file raises almost anything
            return True

    def leads_elsewhere(self, value: object) -> bool:
        """Whether a value refers to an object that no group names."""
        at = getattr(value, "address_of_reference", None)
        return at is not None and at not in self._objects and at not in _NONE

    def _may_hold_images(self, table: Table) -> bool:
        shape, kind = table.shape, type(table.type).__name__
        if table.compact is not None and kind not in ("P5SequenceType", "P5VlenStringType", "P5ReferenceType"):
            if table.dtype.kind in "SV":
                return opaque(table.compact) or _numbers(table.dtype) >= MIN_PIXELS
            return self._are_pixels(shape, table.dtype)
        if table.variable or table.text:
            return self._pointers_hold_images(table)
        if table.layout.at is None and table.layout.chunk_shape is None:
            return table.virtual and self._are_pixels(shape, table.dtype)  # nothing is stored here
        if kind == "P5ReferenceType":
            return self._references_lead_elsewhere(table)
        if table.dtype.kind not in "SV":
            return self._are_pixels(shape, table.dtype)
        size = table.dtype.itemsize
        if size > (MAX_TEXT if table.dtype.kind == "S" else MAX_OPAQUE) or _numbers(table.dtype) >= MIN_PIXELS:
            return True
        return size > 1 and any(texts_show_images(data, size) for data in self._blocks(table))

    def _are_pixels(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        kind = dtype if dtype.kind in "fc" else None
        if may_be_pixels(shape[1:], kind):
            return True
        if shape[:1] == (self._n,) or len(shape) not in (2, 3):
            return False
        # One image, or the rows of another split of the data.
        colour = len(shape) == 3 and shape[2] in CHANNELS
        return (colour or (len(shape) == 2 and dtype == np.uint8)) and may_be_pixels(shape[:2], np.dtype(np.float32))

    def _pointers_hold_images(self, table: Table) -> bool:
        """Whether values of variable length may be images. One that several rows share is looked at once."""
        limit = MAX_TEXT if table.text else MAX_OPAQUE
        base = None if table.text else table.type.base_dtype.dtype
        if base is not None and base.kind not in "iufb":
            return True
        compact = [] if table.compact is None else [table.compact]
        for data in chain(compact, self._blocks(table)):
            pointers = np.frombuffer(data, _POINTER)
            pointers = pointers[pointers["length"] > 0]
            longest = int(pointers["length"].max(initial=0))
            if base is not None and base.itemsize > 1:
                if may_be_pixels((longest,), base if base.kind == "f" else None):
                    return True
                continue
            if longest > limit:
                return True
            if len(pointers) and self._values_hold_images(table, pointers):
                return True
        return False

    def _values_hold_images(self, table: Table, pointers: npt.NDArray[Any]) -> bool:
        """Whether images are among the values that pointers lead to: each is looked at once, and heap by heap."""
        order = np.argsort(pointers["address"], kind="stable")
        pointers = pointers[order]
        starts = np.flatnonzero(np.diff(pointers["address"], prepend=NOWHERE))
        for some in np.split(pointers, starts[1:]):
            address = int(some["address"][0])
            objects = table.heap(address)
            self._take(HEAP + OBJECT * len(objects))
            # The number of an object that is not in the heap is an error.
            spans = [objects[number] for number in np.unique(some["index"]).tolist()]
            begin, end = min(at for at, _ in spans), max(at + size for at, size in spans)
            self._take(end - begin)
            data = table.read(begin, end - begin)
            # The images themselves may lie in the same heap.
            own = b"".join(data[at - begin : at - begin + size] for at, size in spans)
            if texts_show_images(own, np.cumsum([0, *(size for _, size in spans)])):
                return True
        return False

    def _references_lead_elsewhere(self, table: Table) -> bool:
        if table.dtype.itemsize != 8:
            return True  # to a part of a dataset
        for data in self._blocks(table):
            addresses = np.unique(np.frombuffer(data, "<u8")).tolist()
            if not self._objects.issuperset(at for at in addresses if at not in _NONE):
                return True
        return False

    def _blocks(self, table: Table) -> Iterator[bytes]:
        """The stored values of a table, some at a time; an exception where they take too much."""
        for data in table.blocks(BLOCK):
            self._take(len(data))
            yield data

    def _take(self, n: int) -> None:
        self._left -= n
        if self._left < 0:
            raise ValueError("its datasets take far more than the file")


def _numbers(dtype: np.dtype[Any]) -> int:
    """How many numbers a value of a compound type has."""
    if dtype.fields is not None:
        return sum(_numbers(field[0]) for field in dtype.fields.values())
    return math.prod(dtype.shape) if dtype.base.kind in "iufbc" else 0
