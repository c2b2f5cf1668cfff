"""What every container offers, and what their readers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from unveil.errors import PictureError, SourceError
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


def read_file(file: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; SourceError otherwise."""
    if not file.is_file():
        raise SourceError(f"{printable(file.name)}: not a regular file, or missing")
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise SourceError(f"{printable(file.name)}: {error.strerror}") from None
    if len(data) > limit:
        raise SourceError(f"{printable(file.name)}: more than {limit} bytes")
    return data


def read_picture(file: Path, limit: int) -> bytes:
    """`read_file` for one picture of many: PictureError, so that it becomes a reject."""
    try:
        return read_file(file, limit)
    except SourceError as error:
        raise PictureError("read", "unreadable file", str(error)) from None
