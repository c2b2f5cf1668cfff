"""A run at an address: a local copy is worked on, and changes are uploaded when the work has succeeded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from unveil.errors import StoreError
from unveil.io.atomic import write_bytes
from unveil.io.documents import read_json, shown, strict_converter, structured
from unveil.io.private import make_private
from unveil.io.run_directory import MANIFEST, SCRATCH, is_finished, is_run_file
from unveil.io.storage import RemoteStorage, cache_folder, download_limit

logger = logging.getLogger(__name__)

# The SHA-256 of every file at the address, by name.
INDEX = "published.json"
MAX_FILES, MAX_INDEX_BYTES = 5_000, 2**20
Index = dict[str, str]


def local_copy(address: str) -> Path:
    """The folder of this machine that holds the local copy of the run at an address."""
    return cache_folder() / "runs" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


@contextlib.contextmanager
def open_remote_run(address: str) -> Iterator[Path]:
    """The local copy of a run at an address; changes are uploaded if the block succeeds.

    A block fails if it raises anything but ``SystemExit`` with status 0. Then nothing is uploaded, and the changes stay
    in the local copy until the next success. Raises StoreError for an address that cannot be used.
    """
    run = RemoteRun(address)
    run.pull()
    try:
        yield run.folder
    except SystemExit as ended:
        if ended.code not in (None, 0):
            raise
        run.push()
        raise
    run.push()


class RemoteRun:
    """The run at an address and its local copy.

    The ``storage`` of the address also holds the checkpoints of an audit in progress. Raises StoreError for an address
    that cannot be written to.
    """

    def __init__(self, address: str) -> None:
        self.folder = local_copy(address)
        self.storage = RemoteStorage(address)
        self._remote = self._read_index()
        # The index when both sides were last the same: it shows which side has changed a file since.
        self._last_sync = self.folder.with_name(f"{self.folder.name}.json")

    def pull(self, only: str | None = None) -> None:
        """Downloads every file that differs here, or ``only`` one.

        A file that was changed here alone stays, unless an unfinished audit changed it. Raises StoreError for a file
        that was changed here and at the address, for one that the index does not describe, and for more bytes than
        `download_limit`.
        """
        make_private(self.folder)
        synced = self._synced()
        # An interrupted audit leaves results that are older, newer or both: the finished ones replace them.
        local_counts = synced is not None and is_finished(self.folder)
        names = [name for name in self._remote if only in (None, name)]
        left = download_limit()
        # The manifest comes last: until then, an interrupted download counts as unfinished.
        for name in sorted(names, key=lambda name: name == MANIFEST):
            file = self.folder / name
            local, before = _sha256(file), (synced or {}).get(name)
            if local == self._remote[name]:
                continue
            if local_counts and local is not None and local != before:
                if self._remote[name] == before:
                    continue
                raise StoreError(
                    f"{file} was changed here, and `{name}` at {self.storage.where} as well. Move the local file away "
                    "and run the command again"
                )
            left -= self.storage.download(name, file, left, self._remote[name])
        if only is None:
            self._write_last_sync(self._remote)

    def push(self) -> int:
        """Uploads every file that is new or changed here, the manifest last and then the index; returns their number.

        Raises StoreError when the run at the address has changed since it was pulled.
        """
        if self._read_index() != self._remote:
            raise StoreError(
                f"{self.storage.where}: somebody else has changed the run, so nothing was uploaded. Your changes are "
                f"in {self.folder}"
            )
        here = {name: digest for name in self._names() if (digest := _sha256(self.folder / name)) is not None}
        changed = [name for name, digest in here.items() if self._remote.get(name) != digest]
        # The manifest says that a run is finished. The index says that all is there: before, nobody uses what is new,
        # and an upload that was interrupted begins again.
        for name in sorted(changed, key=lambda name: name == MANIFEST):
            self.storage.upload(self.folder / name, name)
        if changed:
            self._write_index(here)
        self._write_last_sync(here)
        if changed:
            logger.info("%d files uploaded to %s; the local copy is %s", len(changed), self.storage.where, self.folder)
        return len(changed)

    def remove_checkpoints(self) -> None:
        """Removes what a killed audit of this run would have resumed from."""
        self.storage.remove(SCRATCH)

    def _write_index(self, index: Index) -> None:
        self.storage.write_now(INDEX, json.dumps(index, indent=1).encode())
        self._remote = index

    def _read_index(self) -> Index:
        data = self.storage.read_now(INDEX, MAX_INDEX_BYTES)
        if data is None:
            return {}
        index = _parsed(data)
        if index is None:
            raise StoreError(f"{self.storage.where}/{INDEX} is damaged; name another address")
        others = [name for name in index if not is_run_file(name)]
        if others or len(index) > MAX_FILES:
            found = shown(others[0]) if others else f"{len(index):,} names"
            raise StoreError(
                f"{self.storage.where}/{INDEX}: expected the names of at most {MAX_FILES:,} files of a run, found "
                f"{found}. The index is damaged or forged: name another address"
            )
        return index

    def _synced(self) -> Index | None:
        try:
            return _parsed(self._last_sync.read_bytes())
        except OSError:
            return None

    def _write_last_sync(self, index: Index) -> None:
        write_bytes(self._last_sync, json.dumps(index).encode())

    def _names(self) -> list[str]:
        files = (file for file in self.folder.rglob("*") if file.is_file() and not file.is_symlink())
        names = sorted(file.relative_to(self.folder).as_posix() for file in files)
        return [name for name in names if is_run_file(name)]


def _parsed(data: bytes) -> Index | None:
    try:
        return structured(strict_converter(), read_json(data), dict[str, str])
    except ValueError:
        return None


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None
