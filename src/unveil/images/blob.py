"""A file that is read in ranges, on this machine or at an address; nothing is ever read on the word of a header."""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from unveil.errors import ImageError, SourceError, StoreError
from unveil.io.remote import check_address, filesystem, with_retries

# Files kept open at once; those beyond are opened for each reading.
MAX_OPEN = 200
# What is read ahead from an address at a time.
READ_AHEAD = 2**16


class Blob(ABC):
    """Bytes with a size, read at any offset by any thread."""

    where: str
    name: str
    size: int

    @abstractmethod
    def read(self, offset: int, n: int) -> bytes:
        """The bytes from ``offset`` on, at most ``n``; fewer only at the end of the file."""

    @abstractmethod
    def beside(self, name: str) -> Blob | None:
        """A file of this name in the same folder; None when there is none."""

    def exactly(self, offset: int, n: int, limit: int) -> bytes:
        """``n`` bytes at ``offset``; PictureError when they are more than ``limit`` or than the file holds."""
        if n > limit:
            raise ImageError("read", "unreadable file", f"{n} bytes at byte {offset}; at most {limit} are read")
        data = self.read(offset, n) if offset + n <= self.size else b""
        if len(data) != n:
            raise ImageError("read", "truncated", f"{n} bytes at byte {offset} were expected, {self.size} in all")
        return data

    def whole(self, limit: int) -> bytes:
        """All bytes; SourceError when they are more than ``limit``."""
        data = self.read(0, min(self.size, limit + 1))
        if len(data) > limit:
            raise SourceError(f"{self.where}: more than {limit} bytes")
        return data

    def open(self, *, most_reads: int | None = None) -> BinaryIO:
        """The same as a seekable file, for libraries that want one; it fails after so many reads, if any are told."""
        return _BlobFile(self, most_reads)  # type: ignore[return-value]


class LocalBlob(Blob):
    """A file of this machine."""

    _open = 0
    _lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.name = path, str(path), path.name
        self._descriptor: int | None = None
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        self.size = os.fstat(descriptor).st_size
        with LocalBlob._lock:
            if LocalBlob._open < MAX_OPEN:
                LocalBlob._open += 1
                self._descriptor = descriptor
                return
        os.close(descriptor)

    def read(self, offset: int, n: int) -> bytes:
        try:
            if self._descriptor is not None and offset + n <= self.size:
                data = os.pread(self._descriptor, n, offset)
                if len(data) == n:
                    return data
            if offset >= self.size:
                return b""
            n = min(n, self.size - offset)
            if self._descriptor is not None:
                return _pread(self._descriptor, n, offset)
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                return _pread(descriptor, n, offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ImageError("read", "unreadable file", f"{self.path}: {error.strerror}") from None

    def beside(self, name: str) -> Blob | None:
        file = self.path.parent / name
        return LocalBlob(file) if file.is_file() else None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            # Not under the lock, which its thread may hold; a miscount only opens a file for each reading.
            LocalBlob._open -= 1


def _pread(descriptor: int, n: int, offset: int) -> bytes:
    """`os.pread`, which gives at most 2 GiB at once."""
    data = os.pread(descriptor, n, offset)
    while len(data) < n and (more := os.pread(descriptor, n - len(data), offset + len(data))):
        data += more
    return data


class RemoteBlob(Blob):
    """A file at an address that fsspec knows: ``s3://``, ``https://`` and others."""

    def __init__(self, url: str) -> None:
        try:
            self._files, self._path = filesystem(check_address(url))
            self.size = int(with_retries(url, lambda: self._files.info(self._path)["size"]))
        except FileNotFoundError:
            raise SourceError(f"{url}: there is no such file") from None
        except StoreError as error:
            raise SourceError(str(error)) from None
        self.where, self.name = url, PurePosixPath(self._path).name

    def read(self, offset: int, n: int) -> bytes:
        end = min(offset + n, self.size)
        if offset >= end:
            return b""
        try:
            return with_retries(self.where, lambda: bytes(self._files.cat_file(self._path, start=offset, end=end)))
        except FileNotFoundError:
            raise SourceError(f"{self.where}: it was there when the run began and is gone; run again") from None

    def beside(self, name: str) -> Blob | None:
        url = self.where.rpartition("/")[0] + "/" + name
        there = with_retries(url, lambda: self._files.exists(filesystem(url)[1]))
        return RemoteBlob(url) if there else None


def is_folder(url: str) -> bool:
    """Whether there is a folder at an address; SourceError when it cannot be asked."""
    if url.startswith(("http:", "https:")):
        return False  # to ask would be to fetch the file
    try:
        files, path = filesystem(check_address(url))
        return bool(with_retries(url, lambda: files.isdir(path)))
    except (StoreError, FileNotFoundError) as error:
        raise SourceError(str(error)) from None


class Window:
    """Reads what lies close together at once: headers of small records, one after the other."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._data, self._start = blob, b"", 0

    def read(self, offset: int, n: int) -> bytes:
        """`Blob.read`, from what was read already where that holds it."""
        inside = offset - self._start
        if inside >= 0 and inside + n <= len(self._data):
            return self._data[inside : inside + n]
        # Beyond large records nothing is read ahead.
        near = -READ_AHEAD <= offset - (self._start + len(self._data)) <= READ_AHEAD
        self._start, self._data = offset, self._blob.read(offset, max(n, READ_AHEAD) if near else n)
        return self._data[:n]


class _BlobFile(io.BufferedIOBase):
    """A Blob under Python's file protocol. Asked for more than there is, it allocates what there is."""

    def __init__(self, blob: Blob, most_reads: int | None) -> None:
        self._blob, self._at, self._left = blob, 0, most_reads
        self._ahead, self._ahead_at = b"", 0
        self.name = self.path = blob.where

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        if start + offset < 0:
            raise OSError(f"cannot seek to byte {start + offset}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, n: int | None = -1) -> bytes:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise OSError(f"{self.name}: read without an end")
        left = max(0, self._blob.size - self._at)
        n = left if n is None or n < 0 else min(n, left)
        inside = self._at - self._ahead_at
        if not 0 <= inside <= len(self._ahead) - n:
            try:
                self._ahead, self._ahead_at = self._blob.read(self._at, max(n, READ_AHEAD)), self._at
            except ImageError as error:
                raise OSError(str(error)) from None
            inside = 0
        data = self._ahead[inside : inside + n]
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
