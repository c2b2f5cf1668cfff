"""A file that is read in ranges, on this machine or at a remote address. No stated length decides an allocation."""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from unveil.errors import ImageError, SourceError, StoreError
from unveil.io.regular import check_stored, regular_descriptor
from unveil.io.remote import check_address, file_size, filesystem, read_range, with_retries
from unveil.io.text import printable

# Files that stay open at once; further files are opened for each read.
MAX_OPEN = 200
# Bytes that are read ahead from a remote address.
READ_AHEAD = 2**16


class Blob(ABC):
    """Bytes of a known size that any thread may read at any offset. ``where`` is the path or address."""

    where: str
    name: str
    size: int

    @abstractmethod
    def read(self, offset: int, n: int) -> bytes:
        """The bytes from ``offset``, at most ``n``; fewer only at the end of the file."""

    @abstractmethod
    def sibling(self, name: str) -> Blob | None:
        """The file of this name in the same folder; None when there is none, SourceError for a link not followed."""

    def read_exactly(self, offset: int, n: int, limit: int) -> bytes:
        """``n`` bytes at ``offset``; ImageError when they are more than ``limit`` or reach beyond the file."""
        if n > limit:
            raise ImageError("read", "unreadable file", f"{n} bytes at byte {offset}; at most {limit} are read")
        data = self.read(offset, n) if offset + n <= self.size else b""
        if len(data) != n:
            raise ImageError("read", "truncated", f"{n} bytes were expected at byte {offset}, the file has {self.size}")
        return data

    def read_all(self, limit: int) -> bytes:
        """All bytes; SourceError when there are more than ``limit``."""
        data = self.read(0, min(self.size, limit + 1))
        if len(data) > limit:
            raise SourceError(f"{self.where}: more than {limit} bytes")
        return data

    def open(self, *, max_reads: int | None = None) -> BinaryIO:
        """The blob as a seekable file for libraries; it raises OSError after ``max_reads`` reads."""
        return _BlobFile(self, max_reads)  # type: ignore[return-value]


class LocalBlob(Blob):
    """A file on this machine. What lies beside it may come from a stranger: links there need ``follow_links``."""

    _open = 0
    _lock = threading.Lock()

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        self.path, self.where, self.name = path, str(path), path.name
        self.follow_links = follow_links
        self._descriptor: int | None = None
        try:
            descriptor = regular_descriptor(path)
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        except ValueError as error:  # a name with a null byte
            raise SourceError(f"{printable(str(path))}: {error}") from None
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
                data = pread(self._descriptor, n, offset)
            else:
                descriptor = regular_descriptor(self.path)
                try:
                    data = pread(descriptor, n, offset)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise ImageError("read", "unreadable file", f"{self.path}: {error.strerror}") from None
        if len(data) != n:
            raise ImageError(
                "read", "truncated", f"{self.path}: {n} bytes were expected at byte {offset}; the file was cut since"
            )
        return data

    def read_all(self, limit: int) -> bytes:
        try:
            status = self.path.stat() if self._descriptor is None else os.fstat(self._descriptor)
            check_stored(status, self.path)
        except OSError as error:
            raise SourceError(f"{self.where}: {error.strerror}") from None
        return super().read_all(limit)

    def sibling(self, name: str) -> Blob | None:
        file = self.path.parent / name
        if file.is_symlink() and not self.follow_links:
            raise SourceError(
                f"{file}: expected a file, found a link. Links are not followed; use --follow-links, or remove it"
            )
        return LocalBlob(file, follow_links=self.follow_links) if file.is_file() else None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            # Without the lock, which this thread may hold. A wrong count only opens a file for each read.
            LocalBlob._open -= 1


def pread(descriptor: int, n: int, offset: int) -> bytes:
    """`os.pread` without its limit of 2 GiB a call."""
    data = os.pread(descriptor, n, offset)
    while len(data) < n and (more := os.pread(descriptor, n - len(data), offset + len(data))):
        data += more
    return data


class RemoteBlob(Blob):
    """A file at an address that fsspec supports: ``s3://``, ``https://`` and others."""

    def __init__(self, url: str) -> None:
        try:
            self._files, self._path = filesystem(check_address(url))
            self.size = with_retries(url, lambda: file_size(self._files, self._path))
        except FileNotFoundError:
            raise SourceError(f"{url}: a file was expected, there is none") from None
        except StoreError as error:
            raise SourceError(str(error)) from None
        self.where, self.name = url, PurePosixPath(self._path).name

    def read(self, offset: int, n: int) -> bytes:
        end = min(offset + n, self.size)
        if offset >= end:
            return b""
        try:
            data = with_retries(self.where, lambda: read_range(self._files, self._path, offset, end))
        except FileNotFoundError:
            raise SourceError(
                f"{self.where}: the file has been removed since the run began; put it back and run again"
            ) from None
        if len(data) != end - offset:
            raise StoreError(
                f"{self.where}: expected {end - offset} bytes at byte {offset} of {self.size}, got {len(data)}: the "
                "answer was cut short, or the file has changed. Download it and name its path"
            )
        return data

    def sibling(self, name: str) -> Blob | None:
        url = self.where.rpartition("/")[0] + "/" + name
        exists = with_retries(url, lambda: self._files.exists(filesystem(url)[1]))
        return RemoteBlob(url) if exists else None


class BlobView(Blob):
    """A blob from some byte on, with offsets that count from there."""

    def __init__(self, blob: Blob, start: int) -> None:
        self._blob, self._start = blob, start
        self.where, self.name, self.size = blob.where, blob.name, max(0, blob.size - start)

    def read(self, offset: int, n: int) -> bytes:
        return self._blob.read(self._start + offset, n)

    def sibling(self, name: str) -> Blob | None:
        return self._blob.sibling(name)


def is_folder(url: str) -> bool:
    """Whether an address is a folder; SourceError when the address cannot be reached."""
    if url.startswith(("http:", "https:")):
        return False  # finding out would fetch the file
    try:
        files, path = filesystem(check_address(url))
        return bool(with_retries(url, lambda: files.isdir(path)))
    except (StoreError, FileNotFoundError) as error:
        raise SourceError(str(error)) from None


class Window:
    """Reads neighbouring ranges in one request: the headers of small records, one after the other."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._data, self._start = blob, b"", 0

    def read(self, offset: int, n: int) -> bytes:
        """`Blob.read`, served from the last request where possible."""
        inside = offset - self._start
        if inside >= 0 and inside + n <= len(self._data):
            return self._data[inside : inside + n]
        # After a large record, reading ahead would waste the request.
        near = -READ_AHEAD <= offset - (self._start + len(self._data)) <= READ_AHEAD
        self._start, self._data = offset, self._blob.read(offset, max(n, READ_AHEAD) if near else n)
        return self._data[:n]


class _BlobFile(io.BufferedIOBase):
    """A Blob under Python's file protocol. It never allocates more than the file holds."""

    def __init__(self, blob: Blob, max_reads: int | None) -> None:
        self._blob, self._at, self._reads_left = blob, 0, max_reads
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
        if self._reads_left is not None:
            self._reads_left -= 1
            if self._reads_left < 0:
                raise OSError(f"{self.name}: too many reads; the structure of the file may be circular")
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
