"""Pictures that a text file lists, one `path` or `path label` a line."""

from __future__ import annotations

from pathlib import Path

from unveil.errors import SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.labels import parse_list
from unveil.images.source import MAX_LIST_BYTES, Source, printable, read_file, read_inside
from unveil.types import ImageRecord


class ListSource(Source):
    """The pictures named in a list, by paths relative to the list's folder and inside it."""

    kind = "list"

    def __init__(self, path: Path, rule: LabelRule, *, follow_links: bool = False) -> None:
        super().__init__(path, rule)
        self.path = path
        self._follow = follow_links
        self._root = path.resolve().parent
        rows = parse_list(read_file(path, MAX_LIST_BYTES), str(path))
        if rule.kind == "list":
            raise SourceError(f"{path} is a list itself: give its labels as the second column, not as an identity rule")
        labels = {printable(p): label for p, label in rows if label}
        self._set_records(((printable(p), p) for p, _ in rows), labels=labels)

    def read(self, record: ImageRecord) -> bytes:
        return read_inside(self._root, record.key, follow_links=self._follow)
