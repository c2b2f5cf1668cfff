"""Storage that several processes share: a folder, or an address that fsspec knows.

A file appears complete or not at all. Names are paths below the storage with slashes. Files of an address are cached on
this machine up to a limit; only files that never change are read through the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import platformdirs

from unveil.errors import StoreError
from unveil.io.atomic import TEMPORARY, write_bytes
from unveil.io.checksums import file_sha256
from unveil.io.private import make_private
from unveil.io.regular import read_regular
from unveil.io.remote import (
    check_address,
    environment_number,
    file_size,
    filesystem,
    is_address,
    read_range,
    with_retries,
    without_secrets,
)
from unveil.io.trust import StoreKey

# On these protocols an upload appears at once and complete; on others a file is uploaded and then renamed.
ATOMIC_UPLOADS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
READ_ONLY = frozenset({"http", "https"})
# The cache is measured each time that this share of its limit was written, and then emptied to the second share.
CHECK_SHARE, EMPTIED_SHARE = 0.05, 0.9
DAY_SECONDS = 86400
# The bytes of the largest file of a storage that is read whole, and those of a file that are downloaded at once.
MAX_FILE_BYTES, PART_BYTES = 2**32, 2**26
# Of the cache; a run that is downloaded may take as much, whatever the cache may take.
CACHE_GB = 20.0
# The temporary files of shards. Nothing else in a store is removed because it is old.
STALE = re.compile(rf"\.[0-9a-f]{{64}}\.(npy|json)\.\w{{8}}{re.escape(TEMPORARY)}")
SHARD_FOLDER = re.compile("[0-9a-f]{2}")
# The folder of an address in the cache.
OF_ADDRESS = re.compile("[0-9a-f]{16}")


class Storage(ABC):
    """Files below one place; threads and machines may use it at the same time.

    ``key`` seals what this user writes: others may write there too.
    """

    where: str
    key: StoreKey

    @abstractmethod
    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """The bytes of a file that never changes, or None when there is none.

        Raises StoreError for more than ``limit`` bytes.
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Writes a file, and replaces one of the same name."""

    @abstractmethod
    def names(self, under: str) -> set[str]:
        """The names of all files below a folder."""

    @abstractmethod
    def remove(self, under: str) -> None:
        """Removes a folder with all its files."""


def open_storage(place: Path | str, key: StoreKey | None = None) -> Storage:
    """The storage at a folder or an address, with this user's key unless another is given.

    Raises StoreError for an address that cannot be used.
    """
    return RemoteStorage(str(place), key=key) if is_address(place) else LocalStorage(Path(place), key)


class LocalStorage(Storage):
    """A folder of this machine, or one that several machines share.

    The folder itself may be a link. One below it may lead anywhere, so every method raises StoreError for it.
    """

    def __init__(self, root: Path, key: StoreKey | None = None) -> None:
        self._root, self.key = root, key or StoreKey.own()
        self.where = str(root)
        make_private(root)

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """As `Storage.read`. Raises StoreError for what is there and is no readable regular file."""
        try:
            return read_regular(self.path(name), limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(
                f"{self._root / name}: expected a readable file of the store, found none ({error.strerror}). Move it "
                "away, correct its permissions, or name another --store"
            ) from None

    def write(self, name: str, data: bytes) -> None:
        write_bytes(self.path(name), data)

    def names(self, under: str) -> set[str]:
        folder = self.path(under)
        return {
            file.relative_to(self._root).as_posix()
            for file in folder.rglob("*")
            if file.is_file() and not file.is_symlink()
        }

    def remove(self, under: str) -> None:
        shutil.rmtree(self.path(under), ignore_errors=True)

    def remove_stale_temp(self, under: str) -> None:
        """Removes temporary files of shards that killed writers left a day ago: another process may be writing now."""
        limit = time.time() - DAY_SECONDS
        for folder in _listed(self.path(under)):
            if not SHARD_FOLDER.fullmatch(folder.name) or not stat.S_ISDIR(folder.lstat().st_mode):
                continue
            for file in _listed(folder):
                with contextlib.suppress(OSError):
                    status = file.lstat()
                    if STALE.fullmatch(file.name) and stat.S_ISREG(status.st_mode) and status.st_mtime <= limit:
                        file.unlink()

    def path(self, name: str) -> Path:
        """The path of a file or folder. Raises StoreError if a link below the storage leads to it."""
        path = self._root
        for part in name.split("/"):
            path = path / part
            if path.is_symlink():
                raise StoreError(
                    f"{path}: expected files and folders in a store, found a link, which is not followed. Remove it, "
                    "or name another --store"
                )
        return path


class RemoteStorage(Storage):
    """Storage at an address; while it is unreachable, every operation is retried and the retries are logged.

    Raises StoreError for an address that is read-only or cannot be used.
    """

    def __init__(self, url: str, cache: Cache | None = None, key: StoreKey | None = None) -> None:
        self.key = key or StoreKey.own()
        self.where = check_address(url).rstrip("/")
        self._files, self._root = filesystem(self.where, local=True)
        self._cache = cache or Cache(self.where)
        protocols = self._files.protocol
        self._protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        if self._protocols & READ_ONLY:
            raise StoreError(f"{self.where}: the address is read-only; name one that can be written to")

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        data = self._cache.read(name, limit)
        if data is None:
            data = self.read_now(name, limit)
            if data is not None:
                self._cache.write(name, data)
        return data

    def read_now(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """As `read`, for a file that may change."""
        where, path = f"{self.where}/{name}", self._path(name)

        def fetch() -> bytes:
            size = file_size(self._files, path)
            # Another process may replace the file now, and a server may state anything. Nothing has no range.
            data = read_range(self._files, path, 0, limit + 1) if 0 < size <= limit else b""
            if max(size, len(data)) > limit:
                raise StoreError(
                    f"{where}: expected at most {limit:,} bytes, found {max(size, len(data)):,}. Remove it, or name "
                    "another --store"
                )
            return data

        try:
            return with_retries(where, fetch)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.write_now(name, data)
        self._cache.write(name, data)

    def write_now(self, name: str, data: bytes) -> None:
        """As `write`, for a file that may change."""
        self._upload(name, lambda to: self._files.pipe_file(to, data))

    def upload(self, file: Path, name: str) -> None:
        """Uploads a file of this machine part by part, without the cache."""
        self._upload(name, lambda to: self._files.put_file(str(file), to))

    def download(self, name: str, file: Path, limit: int, sha256: str) -> int:
        """Downloads a file part by part; returns its size in bytes.

        Raises StoreError when it no longer exists, and as `download_if_there`.
        """
        if not self.download_if_there(name, file, limit, sha256):
            raise StoreError(f"{self.where}/{name} no longer exists; run the audit again")
        return file.stat().st_size

    def download_if_there(self, name: str, file: Path, limit: int | None = None, sha256: str | None = None) -> bool:
        """Downloads a file part by part; returns whether there is one.

        Raises StoreError for more than ``limit`` bytes, by default those of `download_limit`, and for a file with
        another SHA-256 than ``sha256``, which is not stored.
        """
        where, path = f"{self.where}/{name}", self._path(name)
        at_most = download_limit() if limit is None else limit

        def fetch() -> None:
            size = file_size(self._files, path)
            if size > at_most:
                raise StoreError(
                    f"{where}: expected at most {at_most:,} bytes, found {size:,}. Set UNVEIL_CACHE_GB to a higher "
                    "number if you trust the address"
                )
            make_private(file.parent)
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".", suffix=TEMPORARY) as folder:
                fetched = Path(folder) / "file"
                with fetched.open("wb") as out:
                    for start in range(0, size, PART_BYTES):
                        out.write(read_range(self._files, path, start, min(size, start + PART_BYTES)))
                if sha256 is not None and file_sha256(fetched) != sha256:
                    raise StoreError(
                        f"{where}: expected the file with the SHA-256 {sha256[:16]}... that the index states, found "
                        "another. It was changed, or its upload has not ended: run the command again later, or the one "
                        "that wrote the run on its machine"
                    )
                fetched.replace(file)

        try:
            with_retries(where, fetch)
        except FileNotFoundError:
            return False
        return True

    def _upload(self, name: str, put: Callable[[str], object]) -> None:
        try:
            with_retries(f"{self.where}/{name}", lambda: self._put_atomically(self._path(name), put))
        except FileNotFoundError as error:
            raise StoreError(without_secrets(f"{self.where}: no such bucket or folder ({error})")) from None

    def _put_atomically(self, path: str, put: Callable[[str], object]) -> None:
        if self._protocols & ATOMIC_UPLOADS:
            put(path)
            return
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}{TEMPORARY}"
        try:
            put(temporary)
            self._files.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(temporary)
            raise

    def names(self, under: str) -> set[str]:
        def find() -> set[str]:
            self._files.invalidate_cache()
            start = len(self._root.rstrip("/")) + 1
            return {path[start:] for path in self._files.find(self._path(under)) if not path.endswith(TEMPORARY)}

        try:
            return with_retries(f"{self.where}/{under}", find)
        except FileNotFoundError:
            return set()

    def remove(self, under: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            with_retries(f"{self.where}/{under}", lambda: self._files.rm(self._path(under), recursive=True))
        self._cache.remove(under)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


class Cache:
    """Files of an address on this machine, least recently used removed first; all processes share it.

    Each file is stored behind its SHA-256, so a damaged or incomplete file counts as absent. ``limit`` is in bytes.
    """

    def __init__(self, where: str, limit: int | None = None, root: Path | None = None) -> None:
        self._all = root or cache_folder() / "store"
        self._folder = self._all / hashlib.sha256(where.encode()).hexdigest()[:16]
        self._limit = int(environment_number("UNVEIL_CACHE_GB", CACHE_GB) * 1e9) if limit is None else limit
        self._unchecked = self._limit  # bytes written since the cache was last measured: measure at the first write
        self._lock = threading.Lock()

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """The bytes of a cached file, or None when there is none of at most ``limit``."""
        file = self._folder / name
        try:
            stored = read_regular(file, 32 + limit)
            os.utime(file)
        except OSError:
            return None
        digest, data = stored[:32], stored[32:]
        return data if hashlib.sha256(data).digest() == digest else None

    def write(self, name: str, data: bytes) -> None:
        """Caches a file if it fits; a cache that cannot be written to is no reason to end."""
        if len(data) > self._limit * CHECK_SHARE:
            return
        with contextlib.suppress(OSError, StoreError):
            self._remove_oldest(len(data))
            write_bytes(self._folder / name, hashlib.sha256(data).digest() + data)

    def _remove_oldest(self, n: int) -> None:
        """Removes the least recently used files if ``n`` more bytes could exceed the limit."""
        with self._lock:
            self._unchecked += n
            if self._unchecked < self._limit * CHECK_SHARE:
                return
            self._unchecked = 0
        found = []
        # Only folders of addresses: others in the folder that a user named are none of the cache.
        folders = [folder for folder in _listed(self._all) if OF_ADDRESS.fullmatch(folder.name)]
        for file in (file for folder in folders for file in folder.rglob("*")):
            with contextlib.suppress(OSError):
                status = file.stat()
                if file.is_file():
                    found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found) + n
        if total + self._limit * CHECK_SHARE <= self._limit:
            return
        for _, size, file in sorted(found):
            if total <= self._limit * (EMPTIED_SHARE - CHECK_SHARE):
                break
            file.unlink(missing_ok=True)
            total -= size

    def remove(self, under: str) -> None:
        """Removes a folder from the cache."""
        shutil.rmtree(self._folder / under, ignore_errors=True)


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def download_limit() -> int:
    """The most bytes that are downloaded of one run at an address: ``UNVEIL_CACHE_GB``, at least 20 GB."""
    return int(max(CACHE_GB, environment_number("UNVEIL_CACHE_GB", CACHE_GB)) * 1e9)


def cache_folder() -> Path:
    """The folder for local copies of files at addresses: ``UNVEIL_CACHE``, else the user's cache folder."""
    folder = os.environ.get("UNVEIL_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path("unveil")
