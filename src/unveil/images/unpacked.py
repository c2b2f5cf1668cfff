"""A file that is compressed as a whole, unpacked once into a temporary file without a name.

The system removes such a file when its process ends, however that ends. Images are then read from it in any order.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import pyarrow as pa

from unveil.errors import DiskFullError, ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob, pread

# First bytes of each compression; those of bzip2 alone may begin a text.
SIGNATURES = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
SIGNATURE_BYTES = 10
CHUNK = 2**20
# Packed bytes that a decompressor gets at once. It copies what follows its stream, and streams may be tiny.
FED = 2**14
# Images hardly shrink; what unpacks to more than this is no set of images.
MAX_RATIO, SPARE_BYTES = 64, 2**28
# Memory that the header of an xz file may ask for; `xz -9` asks for 65 MiB.
MAX_XZ_MEMORY = 2**28
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError, pa.ArrowException)


class UnpackedBlob(Blob):
    """The unpacked bytes of another blob."""

    def __init__(self, packed: Blob, descriptor: int, size: int) -> None:
        self.where, self.name, self.size = packed.where, packed.name, size
        self._packed, self._descriptor = packed, descriptor

    def read(self, offset: int, n: int) -> bytes:
        try:
            return pread(self._descriptor, max(0, min(n, self.size - offset)), offset)
        except OSError as error:
            raise ImageError("read", "unreadable file", f"{self.where}: {error.strerror}") from None

    def sibling(self, name: str) -> Blob | None:
        return self._packed.sibling(name)

    def __del__(self) -> None:
        os.close(self._descriptor)


# What is unpacked at the moment, so that a file that is opened twice is unpacked once.
_unpacked: WeakValueDictionary[tuple[object, ...], UnpackedBlob] = WeakValueDictionary()
_lock = threading.Lock()


def most_unpacked(size: int) -> int:
    """The bytes that a file of images of ``size`` bytes may unpack to."""
    return MAX_RATIO * size + SPARE_BYTES


def compression_of(head: bytes) -> str | None:
    """How a file is compressed, by its first bytes; None when it is not."""
    return next((kind for kind, signature in SIGNATURES.items() if signature.match(head)), None)


def unpacked_head(blob: Blob, n: int) -> bytes:
    """The first unpacked bytes of a compressed file; fewer when it is damaged."""
    head = b""
    try:
        for chunk in _chunks(blob, n):
            head += chunk
            if len(head) >= n:
                break
    except DAMAGED:
        return head
    return head[:n]


def unpack(blob: Blob) -> Blob:
    """The unpacked blob; the blob itself when it is not compressed.

    Raises SourceError when it is damaged or unpacks to more than `MAX_RATIO` times its size, and DiskFullError when the
    folder of temporary files is full.
    """
    if compression_of(blob.read(0, SIGNATURE_BYTES)) is None:
        return blob
    if not isinstance(blob, LocalBlob):
        return _unpack(blob)
    status = blob.path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _lock:
        found = _unpacked.get(key)
        if found is None:
            found = _unpacked[key] = _unpack(blob)
        return found


def _unpack(blob: Blob) -> UnpackedBlob:
    folder = tempfile.gettempdir()
    limit = most_unpacked(blob.size)
    space = shutil.disk_usage(folder).free // 2
    size = 0
    with tempfile.TemporaryFile() as file:
        chunks = _chunks(blob, CHUNK)
        while True:
            try:
                chunk = next(chunks, None)
            except DAMAGED as error:
                raise SourceError(
                    f"{blob.where}: a damaged compressed file after {size} unpacked bytes ({error}); get the file again"
                ) from None
            if chunk is None:
                break
            size += len(chunk)
            if size > limit:
                raise SourceError(f"{blob.where}: unpacks to more than {limit} bytes; unpack it first if it is right")
            if size > space:
                raise DiskFullError(
                    f"{blob.where}: unpacks to more than half of the free space of {folder}; set TMPDIR to another disk"
                )
            file.write(chunk)
        file.flush()
        return UnpackedBlob(blob, os.dup(file.fileno()), size)


def _chunks(blob: Blob, n: int) -> Iterator[bytes]:
    """The unpacked bytes of all streams, in chunks of 1 to ``n`` bytes; an exception of `DAMAGED` for what is none."""
    kind = compression_of(blob.read(0, SIGNATURE_BYTES))
    packed = blob.open()
    if kind == "xz":
        # lzma.LZMAFile cannot limit the memory.
        yield from _streams(packed, n, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY))
        return
    if kind == "bzip2":
        # bz2.BZ2File takes a stream with a damaged header for the end of the file.
        yield from _streams(packed, n, bz2.BZ2Decompressor)
        return
    file: Any
    if kind == "gzip":
        file = gzip.GzipFile(fileobj=packed)
    else:
        file = pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd")
    with file:
        while chunk := file.read(n):
            yield bytes(chunk)


def _streams(packed: BinaryIO, n: int, new: Callable[[], Any]) -> Iterator[bytes]:
    """The unpacked bytes of streams one after the other; any may be empty, and zeros may stand between them."""
    data = b""
    while True:
        data = data.lstrip(b"\0")
        if not data:
            data = packed.read(FED)
            if not data:
                return
            continue
        stream = new()
        while True:
            if chunk := stream.decompress(data, n):
                yield chunk
            if stream.eof:
                break
            data = packed.read(FED) if stream.needs_input else b""
            if stream.needs_input and not data:
                raise EOFError("it ends in the middle of a stream")
        data = stream.unused_data
