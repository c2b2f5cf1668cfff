"""What every container offers, and what their readers share."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.label_rule import LabelRule
from unveil.io.text import printable as printable
from unveil.types import ImageRecord

# A picture file larger than this is not read; 64 MiB holds any photograph.
MAX_FILE_BYTES = 64 * 2**20
# A list of pictures larger than this is not a list of pictures.
MAX_LIST_BYTES = 2**30
READ_AT_ONCE = 2**20
# More pictures than this are not in one container; a header that says so lies.
MAX_RECORDS = 10**9


class Source(ABC):
    """A container of pictures.

    ``records`` holds every entry, picture or not, in an order that depends on the container alone. ``read`` gives the
    bytes of one, or raises PictureError; it may be called from several threads. ``notes`` say what a person should
    know of how the container was read.
    """

    kind: str

    def __init__(self, where: str | Path, rule: LabelRule) -> None:
        self.where = str(where)
        self.rule = rule
        self.records: list[ImageRecord] = []
        self.notes: list[str] = []

    @abstractmethod
    def read(self, record: ImageRecord) -> bytes: ...

    def _set_records(
        self,
        entries: Iterable[tuple[str, str]],
        *,
        labels: Mapping[str, str] | None = None,
        listed: Mapping[str, str] | None = None,
        in_order: bool = False,
    ) -> None:
        """Records from (id, key) pairs: sorted by id unless the container has an order, ids made unique.

        People are by the rule. ``labels`` are the container's own, by id: they count for the rule ``labels``, and for
        ``auto`` where there are any. ``listed`` are those of the list that a rule ``list:`` names.
        """
        ordered = list(entries) if in_order else sorted(entries)
        if not ordered:
            raise SourceError(f"{self.where}: no files in it; a folder, list or container of pictures was expected")
        if self.rule.kind == "labels" and not labels:
            raise SourceError(f"{self.where}: the {self.kind} holds no labels of its own; use another identity rule")
        if self.rule.kind == "auto" and labels:
            self.rule = LabelRule("labels")
        self.rule = self.rule.resolve([id for id, _ in ordered])
        known = {"labels": labels, "list": listed}.get(self.rule.kind)
        seen: dict[str, int] = {}
        for id, key in ordered:
            seen[id] = count = seen.get(id, 0) + 1
            person = self.rule.person(id) if known is None else known.get(id)
            name = None if person is None else printable(person)
            self.records.append(ImageRecord(id if count == 1 else f"{id}~{count}", name, key))


def numbered(numbers: Iterable[int]) -> list[str]:
    """Ids of pictures that have only a number, as wide as the largest needs and eight digits at least."""
    all_numbers = list(numbers)
    width = max(8, len(str(max(all_numbers, default=0))))
    return [f"{number:0{width}d}" for number in all_numbers]


def check_rows(n: int, blob: Blob) -> None:
    """SourceError when a file says that it has more rows than bytes: each holds a picture, and is given an id."""
    if n > min(blob.size, MAX_RECORDS):
        raise SourceError(f"{blob.where}: damaged, it says {n} rows in {blob.size} bytes; get the file again")


def stays_inside(path: str) -> bool:
    """Whether a relative path cannot leave the folder it is relative to, and is one at all."""
    if "\0" in path:
        return False
    pure = PurePosixPath(path.replace("\\", "/"))
    return not pure.is_absolute() and ".." not in pure.parts and ":" not in (pure.parts[0] if pure.parts else "")


def read_file(file: str | Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; SourceError otherwise."""
    name = printable(os.path.basename(file))  # noqa: PTH119 (Path is slow, and every picture comes here)
    try:
        # A pipe would be waited for.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(f"{name}: not a regular file, or missing")
            data = os.read(descriptor, min(status.st_size, limit) + 1)
            while 0 < len(data) <= limit and (more := os.read(descriptor, min(limit + 1 - len(data), READ_AT_ONCE))):
                data += more
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"{name}: {told}") from None
    if len(data) > limit:
        raise SourceError(f"{name}: more than {limit} bytes")
    return data


def read_image(file: str | Path, limit: int) -> bytes:
    """`read_file` for one picture of many: PictureError, so that it becomes a reject."""
    try:
        return read_file(file, limit)
    except SourceError as error:
        raise ImageError("read", "unreadable file", str(error)) from None


def read_inside(folder: Path, path: str, *, follow_links: bool = False) -> bytes:
    """The file that a container names by a path relative to ``folder``; PictureError when it lies outside."""
    if not stays_inside(path):
        raise ImageError(
            "read", "path leaves the folder", "paths are relative to the list and may not leave its folder"
        )
    file = folder / path
    try:
        leaves = not follow_links and not file.resolve().is_relative_to(folder)
    except OSError as error:
        raise ImageError("read", "unreadable file", str(error.strerror)) from None
    if leaves:
        raise ImageError("read", "link leaves the folder", "not followed; see --follow-links")
    return read_image(file, MAX_FILE_BYTES)
