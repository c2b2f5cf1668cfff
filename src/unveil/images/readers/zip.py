"""Images in a zip archive, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.content import HEAD, content_of
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, printable
from unveil.images.zip_gaps import LOCAL_HEADER, LOCAL_SIGNATURE, check_accounted
from unveil.types import ImageRecord

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
)
# Packed bytes that unpack to the first ones of a file.
_PACKED_HEAD = 2 * HEAD


class ZipSource(Source):
    """Every member of a zip. Threads read at the same time, without the lock of zipfile.

    Sizes in the headers are not trusted: reading stops at the limit.
    """

    kind = "zip"

    def __init__(
        self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None, *, max_bytes: int = MAX_FILE_BYTES
    ) -> None:
        super().__init__(blob.where, rule)
        self.blob, self._max_bytes = blob, max_bytes
        try:
            self._zip = zipfile.ZipFile(blob.open())
        except DAMAGED as error:
            raise SourceError(f"{blob.where}: a damaged zip ({error})") from None
        check_accounted(self._zip, blob, self.unread)
        self.members = self._zip.infolist()
        # Some programs for Windows separate folders by backslashes. A folder has no bytes; what has some is a file.
        paths = [member.filename.replace("\\", "/") for member in self.members]
        names = {
            i: path.rstrip("/") or path
            for i, (path, member) in enumerate(zip(paths, self.members, strict=True))
            if not path.endswith("/") or member.file_size or member.compress_size
        }
        index = {name: i for i, name in names.items()}
        found = find_labels(rule, index, lambda name, limit: self._read(index[name], limit), blob.where)
        self.label_files, stored = found.files, found.stored or {}
        # Of several members with one name, the last was read.
        read = {index[name] for name in found.files}
        shown = ((printable(name), i) for i, name in names.items() if i not in read)
        self._set_records(
            (Entry(name, f"{i:012d}", stored.get(name)) for name, i in shown),
            listed=found.listed,
            states_labels=found.stored is not None,
            are_files=True,
            # At an address, each would cost two requests.
            content=(lambda entry: content_of(self._head(int(entry.key)))) if isinstance(blob, LocalBlob) else None,
        )

    def read(self, record: ImageRecord) -> bytes:
        return self.read_member(int(record.key))

    def read_member(self, member: int) -> bytes:
        """The bytes of a member by its number, an image or not; ImageError when they cannot be read."""
        return self._read(member, self._max_bytes)

    def _head(self, member: int) -> bytes:
        """The first bytes of a member, unpacked; none of one that cannot be read."""
        info = self.members[member]
        try:
            start = self._start(info)
            data = self.blob.read(start, min(info.compress_size, _PACKED_HEAD))
            if info.compress_type == zipfile.ZIP_STORED:
                return data[:HEAD]
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD)
        except (ImageError, zlib.error):
            return b""

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a member begin; ImageError where they cannot be read."""
        if info.flag_bits & 1:
            raise ImageError("read", "encrypted", "unpack the archive with its password first")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The other methods allocate what the header states, and image sets do not use them.
            raise ImageError("read", "unknown compression", f"zip method {info.compress_type}; unpack the archive")
        at = info.header_offset
        header = self.blob.read(at, LOCAL_HEADER) if at >= 0 else b""
        if len(header) < LOCAL_HEADER or header[:4] != LOCAL_SIGNATURE:
            raise ImageError("read", "damaged zip member", f"no local header at byte {at}")
        return at + LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")

    def _read(self, member: int, limit: int) -> bytes:
        info = self.members[member]
        start = self._start(info)
        data = self.blob.read_exactly(start, info.compress_size, limit)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = unpacker.decompress(data, limit + 1)
            except zlib.error as error:
                raise ImageError("read", "damaged zip member", f"at byte {start}: {error}") from None
            if unpacker.unused_data:
                raise ImageError(
                    "read",
                    "damaged zip member",
                    f"{len(unpacker.unused_data)} more bytes after its end at byte {start}",
                )
        if len(data) > limit:
            raise ImageError("read", "unreadable file", f"more than {limit} bytes")
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise ImageError("read", "damaged zip member", f"wrong checksum of {len(data)} bytes at byte {start}")
        return data
