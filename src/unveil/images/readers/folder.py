"""Pictures in a folder tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from unveil.errors import ImageError, SourceError, StoreError
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels
from unveil.images.source import MAX_FILE_BYTES, Source, printable, read_image
from unveil.io.remote import check_address, filesystem, with_retries
from unveil.types import ImageRecord


class RemoteFolderSource(Source):
    """Every file below a folder at an address."""

    kind = "folder"

    def __init__(self, url: str, rule: LabelRule) -> None:
        super().__init__(url, rule)
        self._url = url.rstrip("/")
        self._files, root = filesystem(check_address(self._url))
        self._root = root.rstrip("/")
        try:
            paths = with_retries(url, lambda: self._files.find(self._root))
        except (FileNotFoundError, StoreError) as error:
            raise SourceError(f"{url}: no folder that can be read ({error})") from None
        names = [name for path in paths if (name := str(path)[len(self._root) + 1 :])]
        found = find_labels(rule, names, self._read, url)
        self.label_files = found.files
        self._set_records(
            ((printable(name), name) for name in names if name not in found.files),
            labels=found.own,
            listed=found.listed,
        )

    def read(self, record: ImageRecord) -> bytes:
        return self._read(record.key, MAX_FILE_BYTES)

    def _read(self, name: str, limit: int) -> bytes:
        where = f"{self._root}/{name}"
        try:
            # One byte more than may be, not what somebody says that there is.
            data = with_retries(
                f"{self._url}/{name}", lambda: bytes(self._files.cat_file(where, start=0, end=limit + 1))
            )
        except FileNotFoundError:
            raise ImageError(
                "read", "unreadable file", f"{printable(name)}: gone since the folder was listed"
            ) from None
        if len(data) > limit:
            raise ImageError("read", "unreadable file", f"{printable(name)}: more than {limit} bytes")
        return data


class FolderSource(Source):
    """Every file below a folder.

    A folder may come from a stranger: links that leave it are rejects, not pictures, unless ``follow_links``.
    """

    kind = "folder"

    def __init__(self, path: Path, rule: LabelRule, *, follow_links: bool = False) -> None:
        super().__init__(path, rule)
        self.path, self._root = path, path.resolve()
        self._follow = follow_links
        files = list(self._walk())
        found = find_labels(rule, files, self._read, str(path))
        self.label_files = found.files
        self._set_records(
            ((printable(f), f) for f in files if f not in found.files), labels=found.own, listed=found.listed
        )

    def _walk(self) -> Iterator[str]:
        def stop(error: OSError) -> None:
            raise SourceError(f"{error.filename}: {error.strerror}; the whole folder must be readable") from None

        visited: set[str] = set()
        for folder, folders, names in os.walk(self.path, onerror=stop, followlinks=self._follow):
            if self._follow:
                # Links can lead round in circles.
                real = os.path.realpath(folder)
                if real in visited:
                    folders.clear()
                    continue
                visited.add(real)
            base = Path(folder).relative_to(self.path)
            links = [] if self._follow else [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in [*names, *links]:
                yield (base / name).as_posix()

    def read(self, record: ImageRecord) -> bytes:
        return self._read(record.key, MAX_FILE_BYTES)

    def _read(self, name: str, limit: int) -> bytes:
        path = f"{self.path}/{name}"
        if not self._follow and os.path.islink(path):  # noqa: PTH114 (a third of the time of Path's)
            file = Path(path)
            if file.is_dir():
                raise ImageError("read", "link to a folder", "not followed; see --follow-links")
            if not file.resolve().is_relative_to(self._root):
                raise ImageError("read", "link leaves the folder", "not followed; see --follow-links")
        return read_image(path, limit)
