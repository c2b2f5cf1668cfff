"""What every container offers, and the choice of the right reader by what a path holds."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from unveil.errors import SourceError
from unveil.images.identity import IdentityRule
from unveil.types import ImageRecord

# A picture file larger than this is not read; 64 MiB holds any photograph.
MAX_FILE_BYTES = 64 * 2**20
# A list of pictures larger than this is not a list of pictures.
MAX_LIST_BYTES = 2**30


class Source(ABC):
    """A container of pictures.

    ``records`` holds every entry, picture or not, in an order that depends on their paths alone. ``read`` gives the
    bytes of one, or raises PictureError; it may be called from several threads.
    """

    kind: str

    def __init__(self, path: Path, rule: IdentityRule) -> None:
        self.path = path
        self.rule = rule
        self.records: list[ImageRecord] = []

    @abstractmethod
    def read(self, record: ImageRecord) -> bytes: ...

    def _set_records(self, entries: Iterable[tuple[str, str]], labels: dict[str, str] | None = None) -> None:
        """Records from (id, key) pairs: sorted by id, ids made unique, people by the rule or by ``labels``."""
        ordered = sorted(entries)
        if not ordered:
            raise SourceError(f"{self.path}: no files in it; a folder, list or zip of pictures was expected")
        self.rule = self.rule.resolve([id for id, _ in ordered])
        seen: dict[str, int] = {}
        for id, key in ordered:
            seen[id] = count = seen.get(id, 0) + 1
            person = labels.get(id) if labels is not None else self.rule.person(id)
            name = None if person is None else printable(person)
            self.records.append(ImageRecord(id if count == 1 else f"{id}~{count}", name, key))


def printable(name: str) -> str:
    """A file name as valid Unicode: undecodable bytes and control characters become backslash escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stays_inside(path: str) -> bool:
    """Whether a relative path cannot leave the folder it is relative to."""
    pure = PurePosixPath(path.replace("\\", "/"))
    return not pure.is_absolute() and ".." not in pure.parts and ":" not in (pure.parts[0] if pure.parts else "")


def open_source(path: Path, rule: IdentityRule | None = None, *, follow_links: bool = False) -> Source:
    """The reader for ``path``: a folder, a zip, or a text file that lists pictures.

    Raises SourceError when there is nothing there or the form is not known.
    """
    from unveil.images.folder import FolderSource
    from unveil.images.listing import ListSource
    from unveil.images.zipped import ZipSource

    rule = rule or IdentityRule()
    if path.is_dir():
        return FolderSource(path, rule, follow_links=follow_links)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if zipfile.is_zipfile(path):
        return ZipSource(path, rule)
    with path.open("rb") as file:
        head = file.read(4096)
    if b"\0" not in head and head.strip():
        return ListSource(path, rule, follow_links=follow_links)
    raise SourceError(
        f"{path}: neither a folder, nor a zip, nor a text file that lists pictures; "
        f"it begins with {head[:8]!r}. Unpack it, or list its pictures in a text file, one `path label` a line"
    )
