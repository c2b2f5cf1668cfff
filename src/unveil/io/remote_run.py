"""A run at an address: worked on in a folder of this machine, and put there as a whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from unveil.errors import StoreError
from unveil.io.remote import Say
from unveil.io.storage import RemoteStorage, cache_folder

# What is at the address, by sha256; and the file that says that a run is whole, which therefore comes last.
INDEX, LAST = "published.json", "manifest.json"
# Of a running audit, and of nobody else.
PRIVATE = "work"


def local_copy(address: str) -> Path:
    """The folder of this machine where the run at an address is worked on."""
    return cache_folder() / "runs" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


class RemoteRun:
    """The run at an address, and its copy on this machine. StoreError for an address that cannot be written to."""

    def __init__(self, address: str, say: Say = lambda text: None) -> None:
        self.folder = local_copy(address)
        self._storage = RemoteStorage(address, say)
        self._seen = self._index()

    def pull(self, only: str | None = None) -> None:
        """Fetches what is not here already; or one file alone."""
        names = [name for name in self._seen if only in (None, name)]
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in names:
            file = self.folder / name
            if not _inside(self.folder, file):
                raise StoreError(f"{self._storage.where}/{INDEX}: `{name}` leaves the folder; it is none of ours")
            if _sha256(file) != self._seen[name]:
                self._storage.download(name, file)

    def push(self) -> int:
        """Puts there what is new or changed here, the manifest last; returns the number of files."""
        if self._index() != self._seen:
            raise StoreError(
                f"{self._storage.where}: somebody else has changed it meanwhile; nothing was written there, what you "
                f"did is in {self.folder}"
            )
        here = {name: seal for name in self._names() if (seal := _sha256(self.folder / name)) is not None}
        changed = [name for name, seal in here.items() if self._seen.get(name) != seal]
        for name in sorted(changed, key=lambda name: name == LAST):
            if name == LAST:
                self._write_index(here)
            self._storage.upload(self.folder / name, name)
        if changed and LAST not in changed:
            self._write_index(here)
        return len(changed)

    def _write_index(self, index: dict[str, str]) -> None:
        self._storage.write_now(INDEX, json.dumps(index, indent=1).encode())
        self._seen = index

    def _index(self) -> dict[str, str]:
        data = self._storage.read_now(INDEX)
        try:
            index = {} if data is None else json.loads(data)
            return {str(name): str(seal) for name, seal in index.items()}
        except (ValueError, AttributeError):
            raise StoreError(f"{self._storage.where}/{INDEX} is damaged; name another address") from None

    def _names(self) -> list[str]:
        files = (file for file in self.folder.rglob("*") if file.is_file() and not file.is_symlink())
        names = sorted(file.relative_to(self.folder).as_posix() for file in files)
        return [n for n in names if not n.startswith(f"{PRIVATE}/") and not n.endswith((".tmp", "-wal", "-shm"))]


def _inside(folder: Path, file: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None
