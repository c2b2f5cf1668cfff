"""Arrow files and streams, as Hugging Face's ``save_to_disk`` writes them."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from unveil.errors import SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.image_like import shows_image
from unveil.images.readers.table import Table, TableSource
from unveil.images.unpacked import most_unpacked

FILE_MAGIC = b"ARROW1"
# Bytes of all batches together, where they do not stay mapped.
MAX_UNPACKED = 2**32
FILE_HEADER = 8
# How a stream ends, and the bytes at its end in which this is looked for.
END_OF_STREAM, END_BYTES = b"\xff\xff\xff\xff\0\0\0\0", 8 + 64
# Bytes behind the last batch that a writer may leave.
SLACK = 64
# Bytes of metadata that depend on how a writer lays it out.
METADATA_SLACK = 1024
# Fields of Message, RecordBatch and DictionaryBatch in Arrow's Message.fbs.
HEADER, NODES, BUFFERS, COMPRESSION, DICTIONARY_DATA = 2, 1, 2, 3, 1
_LENGTH = struct.Struct("<q")
# Offset and length of a buffer; offset and two lengths of a message; the length of the footer and the magic number.
BUFFER, BLOCK, FOOTER_END = struct.Struct("<qq"), struct.Struct("<qi4xq"), struct.Struct("<i6s")
FOOTER_DICTIONARIES, FOOTER_BATCHES = 2, 3


def _opened(blob: Blob, start: int) -> Any:
    source = pa.memory_map(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
    source.seek(start)
    return source


def _messages(source: Any) -> Iterator[Any]:
    """The messages of a stream, whose bodies stay mapped."""
    reader = pa.ipc.MessageReader.open_stream(source)
    with contextlib.suppress(StopIteration):
        while True:
            yield reader.read_next_message()


def _begins_stream(blob: Blob, start: int) -> bool:
    """Whether a stream of messages begins at a byte."""
    try:
        pa.ipc.open_stream(_opened(blob, start))
    except (pa.ArrowInvalid, OSError):
        return False
    return True


def _footer_bytes(blob: Blob) -> int:
    """The bytes of the footer of a file, with its length and the magic number."""
    length, _ = FOOTER_END.unpack(blob.read(max(0, blob.size - FOOTER_END.size), FOOTER_END.size))
    return int(max(0, length)) + FOOTER_END.size


def _listed(blob: Blob) -> list[int]:
    """Where each message begins that the footer of a file lists; struct.error when it is damaged."""
    size = _footer_bytes(blob)
    footer = memoryview(blob.read(max(0, blob.size - size), size - FOOTER_END.size))
    table = _Flat(footer, struct.unpack_from("<I", footer)[0])
    return [at for field in (FOOTER_DICTIONARIES, FOOTER_BATCHES) for at, _, _ in table.structs(field, BLOCK)]


def _messages_of_footer(blob: Blob, source: Any) -> Iterator[Any]:
    """The messages that the footer of a file lists; SourceError where they and the schema are not all of the file."""
    # The schema message has no length in polars; it is about as long as another writer's.
    end, spare = FILE_HEADER, 2 * pa.ipc.open_file(_opened(blob, 0)).schema.serialize().size + METADATA_SLACK
    for at in [*sorted(_listed(blob)), blob.size - _footer_bytes(blob)]:
        if not 0 <= at - end <= spare or (end == FILE_HEADER and shows_image(blob.read(end, at - end))):
            raise SourceError(
                f"{blob.where}: expected a footer that lists all batches, once each, found {abs(at - end)} bytes at "
                f"byte {min(at, end)} that {'none' if at > end else 'several'} of them hold. Write the file again"
            )
        if at < blob.size - _footer_bytes(blob):
            source.seek(at)
            yield pa.ipc.read_message(source)
            end, spare = source.tell(), SLACK


def _header(message: Any) -> _Flat | None:
    """What describes the buffers of a message; None when it has none."""
    metadata = memoryview(message.metadata)
    header = _Flat(metadata, struct.unpack_from("<I", metadata)[0]).table(HEADER)
    if header is not None and message.type == "dictionary":
        header = header.table(DICTIONARY_DATA)
    return header if message.type in ("record batch", "dictionary") else None


def unread_bytes(message: Any) -> int:
    """The most bytes of a message, one after the other, that no buffer holds; struct.error when it is damaged."""
    header, end, most = _header(message), 0, 0
    if header is None:
        return int(message.body.size) if message.body is not None else 0
    buffers = sorted(header.structs(BUFFERS, BUFFER))
    for offset, length in [*buffers, (message.body.size, 0)]:
        most, end = max(most, offset - end), max(end, offset + length)
    described = BUFFER.size * (len(buffers) + sum(1 for _ in header.structs(NODES, BUFFER)))
    return int(max(most, message.metadata.size - 2 * described - METADATA_SLACK))


def unpacked_bytes(message: Any) -> int:
    """The bytes that the compressed buffers of a message state for unpacking; struct.error when it is damaged.

    Each buffer begins with its unpacked length (https://arrow.apache.org/docs/format/Columnar.html#compression).
    """
    header, body = _header(message), message.body
    if header is None or header.table(COMPRESSION) is None:
        return 0
    total = 0
    for offset, length in header.structs(BUFFERS, BUFFER):
        if length >= _LENGTH.size:
            (unpacked,) = _LENGTH.unpack_from(memoryview(body), offset)
            total += max(0, unpacked)
    return total


class _Flat:
    """A table of FlatBuffers: its fields by number, each found through a list of offsets."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    def _field(self, number: int) -> int:
        """The offset of a field in the data; 0 when the table lacks it."""
        (size,) = struct.unpack_from("<H", self._data, self._fields)
        place = 4 + 2 * number
        offset = struct.unpack_from("<H", self._data, self._fields + place)[0] if place < size else 0
        return self._at + offset if offset else 0

    def table(self, number: int) -> _Flat | None:
        """The table in a field."""
        at = self._field(number)
        return _Flat(self._data, at + struct.unpack_from("<I", self._data, at)[0]) if at else None

    def structs(self, number: int, kind: struct.Struct) -> Iterator[tuple[int, ...]]:
        """The structs in a field, as numbers."""
        at = self._field(number)
        if at:
            at += struct.unpack_from("<I", self._data, at)[0]
            (n,) = struct.unpack_from("<I", self._data, at)
            yield from kind.iter_unpack(self._data[at + 4 : at + 4 + kind.size * n])


class ArrowTable(Table):
    """Arrow's file format, or the stream that ``save_to_disk`` writes."""

    def __init__(self, blob: Blob, *, max_unpacked: int = MAX_UNPACKED) -> None:
        is_file = blob.read(0, len(FILE_MAGIC)) == FILE_MAGIC
        # The file format is a stream between a magic number and a footer. Read as a stream, no footer leads elsewhere.
        start = FILE_HEADER if is_file else 0
        # polars writes the first message in another way, so that only the footer leads to the others.
        by_footer = is_file and not _begins_stream(blob, start)
        self.most = most_unpacked(blob.size)
        self.may_be_cut = not is_file and END_OF_STREAM not in blob.read(max(0, blob.size - END_BYTES), END_BYTES)
        limit = min(max_unpacked, self.most)
        with _opened(blob, start) as source:
            stated = unread = 0
            for message in _messages_of_footer(blob, source) if by_footer else _messages(source):
                stated += unpacked_bytes(message)
                unread = max(unread, unread_bytes(message))
            behind = 0 if by_footer else blob.size - source.tell() - (_footer_bytes(blob) if is_file else 0)
        if stated > limit:
            raise SourceError(
                f"{blob.where}: its batches take {stated} bytes unpacked, at most {limit} are; write the file again "
                "without compression, on a disk of this machine"
            )
        if unread > SLACK:
            raise SourceError(
                f"{blob.where}: expected batches whose columns hold all of their bytes, found {unread} others, which "
                "may be other images. Write the file again"
            )
        if behind > SLACK:
            raise SourceError(
                f"{blob.where}: expected nothing behind its last batch, found {behind} bytes, which may be other "
                "images. Write them into a file of their own"
            )
        reader: Any
        if by_footer:
            reader = pa.ipc.open_file(_opened(blob, 0))
            batches = [reader.get_batch(k) for k in range(reader.num_record_batches)]
        else:
            reader = pa.ipc.open_stream(_opened(blob, start))
            batches = list(reader)
        self.schema = reader.schema
        self._batches = batches
        self.groups = [len(batch) for batch in batches]
        self.sizes = [0] * len(batches)  # mapped, not unpacked

    def rows(self, group: int) -> Any:
        """All columns of a batch, as an Arrow table with checked offsets."""
        rows = pa.Table.from_batches([self._batches[group]])
        rows.validate(full=True)
        return rows

    def _column(self, group: int, name: str, field: str | None) -> Any:
        return self._batches[group].column(self.schema.get_field_index(name))


class ArrowSource(TableSource):
    """Every row of an Arrow file or stream with a column of images."""

    kind = "Arrow"

    @staticmethod
    def open_table(blob: Blob) -> Table:
        return ArrowTable(blob)
