"""A text file that lists pictures, one `path` or `path label` a line."""

from __future__ import annotations

from pathlib import Path

from unveil.errors import PictureError, SourceError
from unveil.images.identity import IdentityRule
from unveil.images.source import (
    MAX_FILE_BYTES,
    MAX_LIST_BYTES,
    Source,
    printable,
    read_file,
    read_picture,
    stays_inside,
)
from unveil.types import ImageRecord


def parse_list(data: bytes, where: str) -> list[tuple[str, str | None]]:
    """(path, label or None) of each line.

    One separator serves the whole file: a tab if any line has one, else a comma if every line has one, else white
    space before the last word if every line has it; else the lines are paths alone. Empty lines and lines that begin
    with # are passed over. Raises SourceError when the file is not UTF-8 text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: a list of pictures should be UTF-8 text ({error})") from None
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    separator: str | None
    if any("\t" in line for line in lines):
        separator = "\t"
    elif lines and all("," in line for line in lines):
        separator = ","
    elif lines and all(len(line.split()) >= 2 for line in lines):
        separator = None
    else:
        return [(line, None) for line in lines]
    rows: list[tuple[str, str | None]] = []
    for line in lines:
        if separator is None:
            path, label = line.rsplit(maxsplit=1)
        else:
            path, _, label = line.partition(separator)
        rows.append((path.strip(), label.strip() or None))
    return rows


def labels_from(data: bytes, where: str) -> dict[str, str]:
    """The label of each listed path; SourceError when the list has none."""
    labels = {printable(path): label for path, label in parse_list(data, where) if label}
    if not labels:
        raise SourceError(f"{where}: no labels in it; lines `path label` were expected")
    return labels


def read_labels(path: Path) -> dict[str, str]:
    """The label of each name in a text file of lines `name label`; SourceError when there are none."""
    return labels_from(read_file(path, MAX_LIST_BYTES), str(path))


class ListSource(Source):
    """The pictures named in a list, by paths relative to the list's folder and inside it."""

    kind = "list"

    def __init__(self, path: Path, rule: IdentityRule, *, follow_links: bool = False) -> None:
        super().__init__(path, rule)
        self._follow = follow_links
        self._root = path.resolve().parent
        rows = parse_list(read_file(path, MAX_LIST_BYTES), str(path))
        labels = None
        if rule.kind == "list":
            raise SourceError(f"{path} is a list itself: give its labels as the second column, not as an identity rule")
        if rule.kind == "auto":
            labels = {printable(p): label for p, label in rows if label}
            if labels:
                self.rule = IdentityRule("list", path.name)
            else:
                labels = None
        self._set_records(((printable(p), p) for p, _ in rows), labels)

    def read(self, record: ImageRecord) -> bytes:
        if not stays_inside(record.key):
            raise PictureError(
                "read", "path leaves the folder", "paths in a list are relative to it and may not leave its folder"
            )
        file = self._root / record.key
        if not self._follow and not file.resolve().is_relative_to(self._root):
            raise PictureError("read", "link leaves the folder", "not followed; see --follow-links")
        return read_picture(file, MAX_FILE_BYTES)
