"""Archives, documents, videos and containers of other files, recognised by their first bytes."""

from __future__ import annotations

from unveil.images.signatures import RIFF
from unveil.images.unpacked import compression_of

# The reason for which such a file is rejected among images.
ARCHIVE = "archive or container"
# The last are RecordIO, a database, PDF, documents and thumbnails of Windows, and Matroska.
_STARTS = (
    *(b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7", b"PAR1", b"ARROW1", b"\x89HDF\r\n\x1a\n"),
    *(b"\n#\xd7\xce", b"SQLite format 3\0", b"%PDF-", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\x1aE\xdf\xa3"),
)
_TAR, _LMDB = slice(257, 262), slice(16, 20)


def is_archive(head: bytes) -> bool:
    """Whether the first 512 bytes of a file, which begins like no image, are those of a file with others in it."""
    inside = head[_TAR] == b"ustar" or head[_LMDB] == b"\xde\xc0\xef\xbe" or compression_of(head) is not None
    video = head[4:8] == b"ftyp" or (head[:4] == RIFF and head[8:11] == b"AVI")
    return inside or video or head.startswith(_STARTS)
