"""HDF5 files that hold images as a dataset, raw or encoded, and their labels as another.

pyfive, which is written in Python, parses the structure of the file. The bytes are read and unpacked here, so that no
length in the file decides an allocation.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, BlobView
from unveil.images.decode import netpbm
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import MAX_LABEL_CHARACTERS, check_exact, labels_of
from unveil.images.labels import labels_beside
from unveil.images.lru import LruCache
from unveil.images.readers.columns import IMAGE_COLUMNS, LABEL_NAMES, SHOWN_COLUMNS, choose_column, notes_of_unused
from unveil.images.readers.hdf5_values import described, parts_around, unread_parts
from unveil.images.readers.parts import notes_of_unread
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, numbered_ids, printable
from unveil.images.unread import shortened
from unveil.types import ImageRecord

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# A chunk is unpacked as a whole.
MAX_CHUNK = 2**28
CACHED_CHUNKS, CACHED_HEAPS = 4, 64
MAX_SMALL_HEAP = 2**14
# Reads that listing a file may take.
MAX_READS = 5_000_000
MAX_DATASETS = 10_000
# The layout of a dataset that shows the values of others.
VIRTUAL = 3
# The attribute of each array that MATLAB writes.
MATLAB = "MATLAB_class"
DEFLATE, SHUFFLE, FLETCHER = 1, 2, 3
_VARIABLE = struct.Struct("<IQI")  # length, address of the heap, index in it
# A block for the user may come first: 512 bytes, or a power of two times that.
USER_BLOCKS = (0, *(512 * 2**k for k in range(8)))
_HEAP_OBJECT = struct.Struct("<HHIQ")


class HDF5Source(Source):
    """Every row of the dataset of images: (N, H, W, C) or (N, C, H, W) raw, or N encoded files."""

    kind = "HDF5"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.blob = blob
        options = self.options = options or {}
        try:
            contents = contents_of(blob)
            tables = contents.tables
            images = {name: t for name, t in tables.items() if t.holds_images}
            _check_refused(blob.where, contents, options, bool(images))
            if not images:
                raise SourceError(_no_images(blob.where, tables))
            what = f"{blob.where}: the dataset of images"
            name = choose_column(images, options.get("image"), IMAGE_COLUMNS, what, "image")
            self._images, self.image_name = images[name], name
            n = len(self._images)
            check_row_count(n, blob)
            if "image" not in options:
                self._check_order(name)
            if self._images.turned:
                self.notes.append(f"the sides of the images in {name} are exchanged, as MATLAB writes them")
            others = {k: t for k, t in tables.items() if k != name and t.shape[:1] == (n,)}
            # Labels of another split may have the same number of rows.
            own = {k: t for k, t in others.items() if k.rpartition("/")[0] == name.rpartition("/")[0]}
            columns = {k: t for k, t in (others if "label" in options else own or others).items() if t.holds_labels}
            label = choose_column(
                columns, options.get("label"), LABEL_NAMES, f"{blob.where}: the labels", "label", needed=False
            )
            parts = [*unread_parts(contents, name, (label,), blob.size), *parts_around(contents, blob)]
            self.notes += notes_of_unread(what, name, parts, chosen="image" in options)
            self.notes += notes_of_unused(own, columns, label)
            self.notes += [f"the dataset {path} is {why}, and is not used" for path, why in contents.refused.items()]
            self.people_name = label
            labels: list[str | None] = [None] * n
            if label is not None and rule.may_use_labels:
                labels, n_long = columns[label].labels()
                if n_long:
                    self.unread.add(f"labels of more than {MAX_LABEL_CHARACTERS:,} bytes", printable(label), n_long)
        except SourceError:
            raise
        except Exception as error:  # a damaged file raises almost anything
            raise SourceError(f"{blob.where}: a damaged HDF5 file ({_named(error)})") from None
        self._set_records(
            (Entry(name, str(i), labels[i]) for i, name in enumerate(numbered_ids(range(n)))),
            states_labels=label is not None,
            listed=labels_beside(rule, blob),
            in_order=True,
        )

    def read(self, record: ImageRecord) -> bytes:
        return self._images.image(int(record.key))

    def _check_order(self, name: str) -> None:
        """SourceError where the last of three dimensions may be the number of images."""
        shape = self._images.shape
        if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
            raise SourceError(
                f"{self.where}: expected images (N, H, W), found {shape} in {name}, which may be {shape[2]} images of "
                f"{shape[0]} x {shape[1]} pixels. Write them as {(shape[2], *shape[:2])}, or use image={name} if these "
                f"are {shape[0]} images"
            )


def _no_images(where: str, tables: dict[str, Table]) -> str:
    """The message for a file without a dataset that is read as images."""
    found = [f"{shortened(name)} ({len(t) if t.shape else 1} x {described(t)})" for name, t in tables.items()]
    more = f" and {len(found) - SHOWN_COLUMNS:,} more" if len(found) > SHOWN_COLUMNS else ""
    return (
        f"{where}: expected images as uint8 of shape (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W), or N files as "
        f"bytes, found {', '.join(found[:SHOWN_COLUMNS]) or 'no dataset'}{more}. Write them so, or as image files"
    )


def _check_refused(where: str, contents: Contents, options: dict[str, str], has_images: bool) -> None:
    """SourceError when a dataset or group that cannot be read may hold images, unless the user chose others."""
    for path, why in contents.refused.items():
        if not has_images or path in options.values() or ("image" not in options and path not in contents.empty):
            raise SourceError(
                f"{where}: {path or 'the file'} is {why}; write the file again without libver='latest' and links to "
                "other files" + (", or name the dataset to read, as in image=NAME" if has_images else "")
            )


@dataclass(frozen=True)
class Layout:
    """Where a dataset lies in the file: at one offset, or as chunks (offset, stored bytes, skipped filters) by their
    first index."""

    at: int | None
    chunk_shape: tuple[int, ...] | None
    chunks: dict[tuple[int, ...], tuple[int, int, int]]
    filters: tuple[int, ...]


class Table:
    """One dataset, read row by row."""

    def __init__(self, blob: Blob, heaps: _Heaps, dataset: Any) -> None:
        self._blob, self._heaps = blob, heaps
        self.shape: tuple[int, ...] = tuple(int(n) for n in dataset.shape)
        self.type = dataset.id.get_type()
        kind = type(self.type).__name__
        # A sequence of bytes for each row: encoded images.
        self.variable, self.text = kind == "P5SequenceType", kind == "P5VlenStringType"
        if self.variable or self.text:
            self.dtype = np.dtype(f"V{_VARIABLE.size}")
        elif kind == "P5FixedStringType":
            # UTF-8 takes as many bytes as ASCII does; pyfive reads it as four bytes a character.
            self.dtype = np.dtype(f"S{self.type.fixed_size}")
        else:
            self.dtype = np.dtype(dataset.dtype)
        self.layout = _layout(dataset)
        # The bytes of a dataset that lies in its own header.
        self.compact: bytes | None = dataset.id._data if dataset.id.layout_class == 0 else None
        # The values of a virtual dataset lie in others, and in other files.
        self.virtual = dataset.id.layout_class == VIRTUAL
        # MATLAB writes the dimensions of an array in reverse.
        self.turned = MATLAB in dataset.attrs and self.shape[3:] not in ((1,), (3,))
        self._cache: LruCache[tuple[int, ...], bytes] = LruCache(CACHED_CHUNKS)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def holds_images(self) -> bool:
        if not self.shape or min(self.shape) < 1:
            return False
        if len(self.shape) == 1:
            return self.variable or (self.dtype.kind in "OVS" and self.dtype.itemsize > 64)
        return self.dtype == np.uint8 and (
            len(self.shape) == 3 or (len(self.shape) == 4 and (self.shape[3] in (1, 3) or self.shape[1] in (1, 3)))
        )

    @property
    def holds_labels(self) -> bool:
        column = len(self.shape) == 1 or self.shape[1:] == (1,)
        return column and (self.text or self.dtype.kind in "iufS") and not self.variable

    @property
    def stored_bytes(self) -> int:
        """The bytes that its rows take in the file, without values of variable length."""
        if self.layout.chunk_shape is not None:
            return sum(stored for _, stored, _ in self.layout.chunks.values())
        return math.prod(self.shape) * self.dtype.itemsize

    def stored(self, row: int) -> bytes:
        """The bytes of a row, or its value of variable length; ImageError when it cannot be read."""
        try:
            data = self._row(row)
            return self._heaps.value(data) if self.variable or self.text else data
        except ImageError:
            raise
        except Exception as error:  # a damaged file raises almost anything
            raise ImageError("read", "damaged record", f"row {row}: {_named(error)}") from None

    def image(self, row: int) -> bytes:
        """The image in a row as the bytes of an image file."""
        data = self.stored(row)
        if self.variable:
            return data
        if len(self.shape) == 1:
            return data.rstrip(b"\0") if self.dtype.kind == "S" else data
        pixels = np.frombuffer(data, np.uint8).reshape(self.shape[1:])
        if self.turned:
            # (3, W, H) or (W, H); images whose channels come last were turned for programs like this one.
            pixels = pixels.swapaxes(-1, -2)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        elif pixels.shape[2] not in (1, 3):
            pixels = pixels.transpose(1, 2, 0)
        return netpbm(pixels)

    def heap(self, address: int) -> dict[int, tuple[int, int]]:
        """Offset and size of the values in the heap at an address, by their numbers."""
        return self._heaps.objects(address)

    def read(self, at: int, size: int) -> bytes:
        """Some bytes of the file."""
        return self._blob.read_exactly(at, size, MAX_FILE_BYTES)

    def blocks(self, size: int) -> Iterator[bytes]:
        """The stored bytes of all rows, in whole values: ``size`` bytes or a chunk at a time."""
        if self.layout.at is not None:
            item = self.dtype.itemsize
            end = self.layout.at + math.prod(self.shape) * item
            step = max(1, size // max(1, item)) * item
            for at in range(self.layout.at, end, step):
                yield self._blob.read_exactly(at, min(step, end - at), MAX_FILE_BYTES)
        for start in self.layout.chunks:
            yield self._chunk(start, self.layout.chunk_shape or ())

    def labels(self) -> tuple[list[str | None], int]:
        """The label in each row, None where it has none, and how many are too long to be read."""
        rows = (self._row(i) for i in range(len(self)))
        if self.text:
            elements = list(rows)
            n_long = sum(_VARIABLE.unpack(element)[0] > MAX_LABEL_CHARACTERS for element in elements)
            return labels_of(self._heaps.value(element, MAX_LABEL_CHARACTERS) for element in elements), n_long
        if self.dtype.kind == "S":
            return labels_of(row.rstrip(b"\0") for row in rows), 0
        values = np.frombuffer(b"".join(rows), self.dtype)
        check_exact(values)
        return labels_of(values.tolist()), 0

    def _row(self, row: int) -> bytes:
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        if size > MAX_FILE_BYTES:
            raise ImageError(
                "read", "unreadable file", f"row {row} holds {size} bytes; at most {MAX_FILE_BYTES} are read"
            )
        layout = self.layout
        if layout.at is not None:
            return self._blob.read_exactly(layout.at + row * size, size, MAX_FILE_BYTES)
        if layout.chunk_shape is None:
            raise ImageError("read", "not written", f"row {row}")
        return self._from_chunks(row, layout.chunk_shape)

    def _from_chunks(self, row: int, chunk_shape: tuple[int, ...]) -> bytes:
        """A row assembled from the chunks that it crosses."""
        if len(chunk_shape) != len(self.shape) or min(chunk_shape) < 1:
            raise ImageError("read", "damaged record", f"chunks of shape {chunk_shape} for {self.shape}")
        out = np.zeros(self.shape[1:], self.dtype)
        first = row // chunk_shape[0] * chunk_shape[0]
        starts = [range(0, n, c) for n, c in zip(self.shape[1:], chunk_shape[1:], strict=True)]
        if math.prod(len(r) for r in starts) > 4096:
            raise ImageError("read", "unreadable file", f"row {row} lies in more than 4096 chunks")
        for corner in np.ndindex(*(len(r) for r in starts)):
            start = tuple(r[i] for r, i in zip(starts, corner, strict=True))
            data = self._cache.get((first, *start), partial(self._chunk, (first, *start), chunk_shape))
            chunk = np.frombuffer(data, self.dtype).reshape(chunk_shape)
            target = tuple(slice(s, s + c) for s, c in zip(start, chunk_shape[1:], strict=True))
            fits = tuple(slice(0, len(range(*p.indices(n)))) for p, n in zip(target, self.shape[1:], strict=True))
            out[target] = chunk[row - first][fits]
        return out.tobytes()

    def _chunk(self, start: tuple[int, ...], chunk_shape: tuple[int, ...]) -> bytes:
        if start not in self.layout.chunks:
            raise ImageError("read", "not written", f"the chunk at {start}")
        size = math.prod(chunk_shape) * self.dtype.itemsize
        at, stored, skipped = self.layout.chunks[start]
        if size > MAX_CHUNK or stored > MAX_CHUNK:
            raise ImageError("read", "unreadable file", f"a chunk of {size} bytes; at most {MAX_CHUNK} are read")
        data = self._blob.read_exactly(at, stored, MAX_CHUNK)
        for i, kind in reversed(list(enumerate(self.layout.filters))):
            if not skipped >> i & 1:
                data = _unfilter(data, kind, size, self.dtype.itemsize)
        if len(data) != size:
            raise ImageError("read", "damaged record", f"a chunk at byte {at} holds {len(data)} bytes, not {size}")
        return data


def _unfilter(data: bytes, kind: int, size: int, item: int) -> bytes:
    if kind == DEFLATE:
        # The chunk states the unpacked size; a checksum may follow.
        return zlib.decompressobj().decompress(data, size + 4)
    if kind == SHUFFLE:
        whole = len(data) // item * item
        return np.frombuffer(data[:whole], np.uint8).reshape(item, -1).T.tobytes() + data[whole:]
    if kind == FLETCHER:
        return data[:-4]
    raise ImageError(
        "read", "unknown compression", f"HDF5 filter {kind}; write the file again with gzip or uncompressed"
    )


class _Heaps:
    """The heaps of the file, which hold values of variable length. The offsets in the last few are cached."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._cache: LruCache[int, dict[int, tuple[int, int]]] = LruCache(CACHED_HEAPS)

    def value(self, element: bytes, limit: int = MAX_FILE_BYTES) -> bytes:
        """The value that an element of a dataset points to; empty when it is longer than ``limit``."""
        length, address, index = _VARIABLE.unpack(element)
        if not length or length > limit < MAX_FILE_BYTES:
            return b""
        objects = self.objects(address)
        if index not in objects:
            raise ImageError("read", "damaged record", f"no object {index} in the heap at byte {address}")
        at, size = objects[index]
        return self._blob.read_exactly(at, min(size, length), MAX_FILE_BYTES)

    def objects(self, address: int) -> dict[int, tuple[int, int]]:
        """Offset and size of the values in the heap at an address, by their numbers."""
        return self._cache.get(address, lambda: self._listed(address))

    def _listed(self, address: int) -> dict[int, tuple[int, int]]:
        found = list(self._objects(address))
        objects = dict(found)
        if len(objects) != len(found):
            raise ImageError("read", "damaged record", f"two objects of one number in the heap at byte {address}")
        return objects

    def _objects(self, address: int) -> Iterator[tuple[int, tuple[int, int]]]:
        head = self._blob.read_exactly(address, 16, MAX_FILE_BYTES)
        end = address + int.from_bytes(head[8:], "little")
        if head[:4] != b"GCOL" or end > self._blob.size:
            raise ImageError("read", "damaged record", f"no heap at byte {address}")
        at = address + 16
        # A heap of small values is read at once.
        whole = self._blob.read(at, end - at) if end - at <= MAX_SMALL_HEAP else b""
        while at + _HEAP_OBJECT.size <= end:
            head = whole[at - address - 16 : at - address - 16 + _HEAP_OBJECT.size]
            head = head if whole else self._blob.read_exactly(at, _HEAP_OBJECT.size, MAX_FILE_BYTES)
            number, _, _, size = _HEAP_OBJECT.unpack(head)
            if number == 0:
                break
            at += _HEAP_OBJECT.size
            yield number, (at, size)
            at += size + -size % 8


@dataclass(frozen=True)
class Contents:
    """Every dataset of a file by its path, and why others cannot be read.

    ``empty`` are those of the others that hold no value, ``items`` all objects by their paths, and ``addresses`` where
    these lie. The data begin at byte ``start`` of the file and end at byte ``end``.
    """

    tables: dict[str, Table]
    refused: dict[str, str]
    empty: set[str]
    items: list[tuple[str, Any]]
    addresses: set[int]
    start: int
    end: int


def contents_of(blob: Blob) -> Contents:
    """What a file holds. A dataset that pyfive does not read does not end the file."""
    file = open_file(blob)
    if file.userblock_size:
        # Every address in the file counts from the end of this block.
        blob = BlobView(blob, int(file.userblock_size))
    heaps = _Heaps(blob)
    end = int(file._superblock._contents["end_of_file_address"])
    found = Contents({}, {}, set(), [("", file)], set(), int(file.userblock_size), end)
    for path, item in items_of(file, blob.where, found):
        found.items.append((path, item))
        try:
            if hasattr(item, "shape"):
                found.tables[path] = Table(blob, heaps, item)
        except _REFUSALS as error:
            found.refused[path] = _reason(error)
    return found


def open_file(blob: Blob) -> Any:
    """The file as pyfive reads it; SourceError when that is not installed."""
    try:
        import pyfive
    except ImportError:
        raise SourceError(f"{blob.where}: HDF5 is read through pyfive; pip install 'unveil[hdf5]'") from None
    try:
        return pyfive.File(blob.open(max_reads=MAX_READS))
    except AssertionError:  # pyfive's asserts have no message; a file that is cut or overwritten raises other errors
        raise SourceError(
            f"{blob.where}: expected datasets and groups in this file, found a link to another file or a layout that "
            "is not read. Write the file again without links to other files and libver='latest', or get it again"
        ) from None


def items_of(file: Any, where: str, found: Contents) -> Iterator[tuple[str, Any]]:
    """Every dataset and group of the file with its path; the others go into what is ``found``, with the reason.

    A group that a link shows again is not listed again: links may form a circle.
    """
    import pyfive

    groups: list[tuple[str, Any]] = [("", file)]
    listed = {file._dataobjects.offset}
    count = 0
    while groups:
        prefix, group = groups.pop()
        _check_names(group, where)
        found.addresses.update(at for at in group._links.values() if isinstance(at, int))
        found.addresses.add(group._dataobjects.offset)
        try:
            # Links out of the file are refused here.
            names = iter(group)
        except _REFUSALS as error:
            found.refused[prefix] = _reason(error)
            continue
        for name in names:
            count += 1
            if count > MAX_DATASETS:
                raise SourceError(f"{where}: more than {MAX_DATASETS} datasets and groups")
            path = printable(f"{prefix}{name}")
            try:
                item = group[name]
            except _REFUSALS as error:
                found.refused[path] = _reason(error)
                if isinstance(error, TypeError) and "NoneType" in str(error):  # it has no shape
                    found.empty.add(path)
                continue
            if isinstance(item, pyfive.Group):
                if item._dataobjects.offset in listed:
                    continue
                listed.add(item._dataobjects.offset)
                groups.append((path + "/", item))
            if isinstance(item, pyfive.Group | pyfive.Dataset):
                yield path, item


def _check_names(group: Any, where: str) -> None:
    """SourceError where a group has two items of one name, of which programs show different ones."""
    from pyfive.btree import BTreeV1Groups
    from pyfive.dataobjects import SYMBOL_TABLE_MSG_TYPE
    from pyfive.misc_low_level import Heap, SymbolTable

    objects, names = group._dataobjects, list[bytes | str]()
    for message in objects.msgs:
        if message["type"] != SYMBOL_TABLE_MSG_TYPE:
            continue
        tree, heap = struct.unpack_from("<QQ", objects.msg_data, message["offset_to_message"])
        stored = Heap(objects.fh, heap)
        for table in BTreeV1Groups(objects.fh, tree).symbol_table_addresses():
            entries = SymbolTable(objects.fh, table).entries
            names += [stored.get_object_name(entry["link_name_offset"]) for entry in entries]
    if not names:
        names = [name for name, _ in objects.iter_links()]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        shown = twice.decode("utf-8", "backslashreplace") if isinstance(twice, bytes) else twice
        raise SourceError(
            f"{where}: expected every name once in a group, found {shortened(printable(shown))} several times. Write "
            "the file again"
        )


# pyfive's ways to refuse a version or a type that it does not read; a TypeError is a dataset without a shape.
_REFUSALS = (RuntimeError, AssertionError, NotImplementedError, TypeError)


def _reason(error: Exception) -> str:
    return f"stored in a way that is not supported ({str(error) or 'a newer layout, or a link to another file'})"


def _named(error: Exception) -> str:
    """The kind of an error, and its text where it has one."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _layout(dataset: Any) -> Layout:
    storage = dataset.id
    if storage.layout_class == 1:
        at = int(storage.data_offset)
        return Layout(None if at == 2**64 - 1 else at, None, {}, ())
    if storage.layout_class != 2:
        return Layout(None, None, {}, ())
    chunks = {}
    for i in range(storage.get_num_chunks()):
        info = storage.get_chunk_info(i)
        chunks[tuple(int(n) for n in info.chunk_offset)] = (
            int(info.byte_offset),
            int(info.size),
            int(info.filter_mask),
        )
    shape = tuple(int(n) for n in storage.chunks)
    listed = storage._nthindex if chunks else []
    if len(listed) != len(chunks) or any(n % side for start in chunks for n, side in zip(start, shape, strict=True)):
        raise SourceError(
            f"expected every chunk once in the index of {printable(dataset.name)}, found some twice or between others, "
            "of which programs show different ones. Write the file again"
        )
    filters = tuple(int(entry["filter_id"]) for entry in storage.filter_pipeline or ())
    return Layout(None, shape, chunks, filters)


def is_hdf5(blob: Blob) -> bool:
    """Whether a file is HDF5, with or without a block for the user in front."""
    return any(blob.read(at, len(SIGNATURE)) == SIGNATURE for at in USER_BLOCKS if at < blob.size)
