"""Images in a folder tree on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from unveil.errors import ImageError
from unveil.images.content import HEAD, content_of
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, printable, read_image
from unveil.images.unread import shown_names
from unveil.io.regular import regular_descriptor
from unveil.io.walk import leads_inside, real_path, walk_whole
from unveil.types import ImageRecord


class FolderSource(Source):
    """Every file below a folder.

    A folder may come from a stranger: links that leave it are rejects, unless ``follow_links``.
    """

    kind = "folder"

    def __init__(
        self, path: Path, rule: LabelRule, *, follow_links: bool = False, max_bytes: int = MAX_FILE_BYTES
    ) -> None:
        super().__init__(path, rule)
        self.path, self._root = path, real_path(path)
        self._follow_links, self._max_bytes = follow_links, max_bytes
        self._again: list[str] = []
        files = list(self._walk())
        if self._again:
            self.notes.append(
                f"{len(self._again)} links lead to folders of the set itself, which are read once, under their own "
                f"names: {shown_names(map(printable, self._again))}"
            )
        found = find_labels(rule, files, self._read, str(path))
        self.label_files, stored = found.files, found.stored or {}
        names = ((printable(file), file) for file in files if file not in found.files)
        self._set_records(
            (Entry(name, file, stored.get(name)) for name, file in names),
            listed=found.listed,
            states_labels=found.stored is not None,
            are_files=True,
            content=lambda entry: content_of(self._head(entry.key)),
        )

    def _walk(self) -> Iterator[str]:
        too_long: list[str] = []
        for folder, folders, names in walk_whole(self.path, too_long.append, follow_links=self._follow_links):
            base = Path(folder).relative_to(self.path)
            # Path raises an error for a name that is too long.
            linked = [name for name in folders if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114
            links = [] if self._follow_links else linked
            if self._follow_links:
                self._again += [
                    (base / name).as_posix() for name in linked if leads_inside(f"{folder}/{name}", self._root)
                ]
            for name in [*names, *links]:
                yield (base / name).as_posix()
        # These folders become rejects: the system cannot open what lies in them.
        yield from (os.path.relpath(name, self.path) for name in too_long)

    def read(self, record: ImageRecord) -> bytes:
        return self._read(record.key, self._max_bytes)

    def _head(self, name: str) -> bytes:
        """The first bytes of a file; none of one that cannot be read or is a link out of the folder."""
        try:
            self._check_link(name)
            descriptor = regular_descriptor(f"{self.path}/{name}")
        except (ImageError, OSError, ValueError):
            return b""
        try:
            return os.read(descriptor, HEAD)
        finally:
            os.close(descriptor)

    def _read(self, name: str, limit: int) -> bytes:
        self._check_link(name)
        return read_image(f"{self.path}/{name}", limit)

    def _check_link(self, name: str) -> None:
        """ImageError for a link that is not followed."""
        path = f"{self.path}/{name}"
        if not self._follow_links and os.path.islink(path):  # noqa: PTH114 (a third of the time of Path's)
            file = Path(path)
            if file.is_dir():
                raise ImageError("read", "link to a folder", "links are not followed; use --follow-links")
            if not real_path(file).is_relative_to(self._root):
                raise ImageError("read", "link leaves the folder", "links are not followed; use --follow-links")
