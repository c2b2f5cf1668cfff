"""Where files of ours are kept for several processes: a folder, or an address that fsspec knows.

What is written is there as a whole or not at all. Names are slashed paths below the place. At addresses, what was read
or written is kept on this machine as well, up to a limit; only files that never change are read so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import platformdirs

from unveil.errors import StoreError
from unveil.io.atomic import remove_stale_temp, write_bytes
from unveil.io.remote import Say, check_address, filesystem, is_address, with_retries, without_secrets

# Storage whose uploads appear at once, as a whole; elsewhere a file is renamed when it is there.
AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
READ_ONLY = frozenset({"http", "https"})
CACHE_BYTES = int(float(os.environ.get("UNVEIL_CACHE_GB", "20")) * 1e9)
# The cache is looked through when so much of it was written, and then emptied to this share.
LOOK_EVERY, EMPTIED_TO = 0.05, 0.9
A_DAY = 86400


class Storage(ABC):
    """Files below one place; may be used from several threads, and at once by several machines."""

    where: str

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The bytes of a file that never changes, or None when there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Puts a file there, replacing another of that name."""

    @abstractmethod
    def names(self, under: str) -> set[str]:
        """The names of all files below a folder."""

    @abstractmethod
    def remove(self, under: str) -> None:
        """Removes a folder with all that is in it."""


def open_storage(place: Path | str, say: Say = lambda text: None) -> Storage:
    """The storage at a folder or an address. Raises StoreError for an address that cannot be used."""
    return RemoteStorage(str(place), say) if is_address(place) else LocalStorage(Path(place))


class LocalStorage(Storage):
    """A folder of this machine, or one that several machines see."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.where = str(root)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        write_bytes(self._root / name, data)

    def names(self, under: str) -> set[str]:
        folder = self._root / under
        return {file.relative_to(self._root).as_posix() for file in folder.rglob("*") if file.is_file()}

    def remove(self, under: str) -> None:
        shutil.rmtree(self._root / under, ignore_errors=True)

    def sweep(self, under: str) -> None:
        """Removes what killed writers left; others may be writing here now, but nothing takes a day."""
        remove_stale_temp(self._root / under, older_than=A_DAY)


class RemoteStorage(Storage):
    """An address. Out of reach, it is tried again for some minutes, which is told."""

    def __init__(self, url: str, say: Say = lambda text: None, cache: Cache | None = None) -> None:
        self.where = check_address(url).rstrip("/")
        self._files, self._root = filesystem(self.where)
        self._say = say
        self._cache = cache or Cache(self.where)
        protocols = self._files.protocol
        self._protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        if self._protocols & READ_ONLY:
            raise StoreError(f"{self.where}: can be read only; name a place that can be written to")

    def read(self, name: str) -> bytes | None:
        known = self._cache.read(name)
        if known is None:
            known = self.read_now(name)
            if known is not None:
                self._cache.write(name, known)
        return known

    def read_now(self, name: str) -> bytes | None:
        """As `read`, of a file that changes."""
        try:
            return with_retries(
                f"{self.where}/{name}", lambda: bytes(self._files.cat_file(self._path(name))), self._say
            )
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self.write_now(name, data)
        self._cache.write(name, data)

    def write_now(self, name: str, data: bytes) -> None:
        """As `write`, of a file that changes."""
        try:
            with_retries(f"{self.where}/{name}", lambda: self._put(self._path(name), data), self._say)
        except FileNotFoundError as error:
            raise StoreError(without_secrets(f"{self.where}: no such bucket or folder ({error})")) from None

    def upload(self, file: Path, name: str) -> None:
        """Puts a file of this machine there, piece by piece; not by way of the cache."""
        try:
            with_retries(f"{self.where}/{name}", lambda: self._put_file(file, self._path(name)), self._say)
        except FileNotFoundError as error:
            raise StoreError(without_secrets(f"{self.where}: no such bucket or folder ({error})")) from None

    def download(self, name: str, file: Path) -> None:
        """Fetches a file, piece by piece; StoreError when it is gone."""

        def fetch() -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".", suffix=".tmp") as folder:
                fetched = Path(folder) / "file"
                self._files.get_file(self._path(name), str(fetched))
                fetched.replace(file)

        try:
            with_retries(f"{self.where}/{name}", fetch, self._say)
        except FileNotFoundError:
            raise StoreError(f"{self.where}/{name} is gone; run the audit again") from None

    def _put(self, path: str, data: bytes) -> None:
        self._as_a_whole(path, lambda to: self._files.pipe_file(to, data))

    def _put_file(self, file: Path, path: str) -> None:
        self._as_a_whole(path, lambda to: self._files.put_file(str(file), to))

    def _as_a_whole(self, path: str, put: Callable[[str], object]) -> None:
        if self._protocols & AT_ONCE:
            put(path)
            return
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
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
            return {path[start:] for path in self._files.find(self._path(under)) if not path.endswith(".tmp")}

        try:
            return with_retries(f"{self.where}/{under}", find, self._say)
        except FileNotFoundError:
            return set()

    def remove(self, under: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            with_retries(f"{self.where}/{under}", lambda: self._files.rm(self._path(under), recursive=True), self._say)
        self._cache.remove(under)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


class Cache:
    """Files of an address on this machine, the last used last to go; shared by all processes of this machine.

    A file is kept behind its sha256, so that what was damaged or half written counts as not being there.
    """

    def __init__(self, where: str, limit: int = CACHE_BYTES, root: Path | None = None) -> None:
        self._all = root or cache_folder() / "store"
        self._folder = self._all / hashlib.sha256(where.encode()).hexdigest()[:16]
        self._limit, self._unlooked = limit, limit
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """The bytes of a kept file."""
        file = self._folder / name
        try:
            stored = file.read_bytes()
            os.utime(file)
        except OSError:
            return None
        seal, data = stored[:32], stored[32:]
        return data if hashlib.sha256(data).digest() == seal else None

    def write(self, name: str, data: bytes) -> None:
        """Keeps a file if it has room; a cache that cannot be written to is no reason to end."""
        if len(data) > self._limit * LOOK_EVERY:
            return
        with contextlib.suppress(OSError, StoreError):
            self._make_room(len(data))
            write_bytes(self._folder / name, hashlib.sha256(data).digest() + data)

    def _make_room(self, n: int) -> None:
        with self._lock:
            self._unlooked += n
            if self._unlooked < self._limit * LOOK_EVERY:
                return
            self._unlooked = 0
        found = []
        for file in self._all.rglob("*"):
            with contextlib.suppress(OSError):
                status = file.stat()
                if file.is_file():
                    found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found) + n
        if total + self._limit * LOOK_EVERY <= self._limit:
            return
        for _, size, file in sorted(found):
            if total <= self._limit * (EMPTIED_TO - LOOK_EVERY):
                break
            file.unlink(missing_ok=True)
            total -= size

    def remove(self, under: str) -> None:
        """Forgets a folder."""
        shutil.rmtree(self._folder / under, ignore_errors=True)


def cache_folder() -> Path:
    """Where copies of what lies at addresses are kept on this machine: ``UNVEIL_CACHE``, else the user's cache."""
    told = os.environ.get("UNVEIL_CACHE")
    return Path(told) if told else platformdirs.user_cache_path("unveil")
