"""Images in a zip archive, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.content import HEAD, Content, content_of
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, printable
from unveil.images.unread import SHOWN_CHARACTERS
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
# The bit of a member whose sizes follow its bytes, and what stands for a size in the extra field.
SIZE_BEHIND, SIZE_IN_EXTRA = 1 << 3, 2**32 - 1
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
            content=(lambda entry: self._content(int(entry.key))) if isinstance(blob, LocalBlob) else None,
        )

    def read(self, record: ImageRecord) -> bytes:
        return self.read_member(int(record.key))

    def read_member(self, member: int) -> bytes:
        """The bytes of a member by its number, an image or not; ImageError when they cannot be read."""
        return self._read(member, self._max_bytes)

    def _content(self, member: int) -> Content | None:
        """What a member holds that is no image by its name. One that cannot be unpacked counts as unread.

        Raises SourceError where the header before it states another size than the directory: other members may lie
        in the difference.
        """
        info = self.members[member]
        header = self.blob.read(info.header_offset, LOCAL_HEADER) if info.header_offset >= 0 else b""
        stated = int.from_bytes(header[18:22], "little")
        elsewhere = bool(info.flag_bits & SIZE_BEHIND) or stated == SIZE_IN_EXTRA
        if header[:4] != LOCAL_SIGNATURE or not (elsewhere or stated == info.compress_size):
            raise SourceError(
                f"{self.where}: expected a header at byte {info.header_offset} that states {info.compress_size} bytes "
                f"for `{printable(info.filename)[:SHOWN_CHARACTERS]}`, found another or none. Write the archive again"
            )
        try:
            start = self._start(info)
            data = self.blob.read(start, min(info.compress_size, _PACKED_HEAD))
            if info.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD)
            return content_of(data[:HEAD])
        except (ImageError, zlib.error):
            self.unread.add("files in it that cannot be unpacked", printable(info.filename))
            return None

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
