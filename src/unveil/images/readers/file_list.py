"""Images that a text file lists, one `path` or `path label` a line."""

from __future__ import annotations

from pathlib import Path

from unveil.errors import SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.labels import parse_list
from unveil.images.source import MAX_LIST_BYTES, Entry, Source, printable, read_file, read_inside
from unveil.types import ImageRecord


class ListSource(Source):
    """The images named in a list, by paths relative to the folder of the list and inside it.

    The option ``image`` is the header of the column of paths.
    """

    kind = "list"

    def __init__(
        self, path: Path, rule: LabelRule, options: dict[str, str] | None = None, *, follow_links: bool = False
    ) -> None:
        super().__init__(path, rule)
        self.path = path
        options = self.options = options or {}
        self._follow_links = follow_links
        self._root = path.resolve().parent
        found = parse_list(read_file(path, MAX_LIST_BYTES), str(path), options.get("image"))
        if found.others and "image" not in options:
            raise SourceError(
                f"{path}: one column of images was expected, found {', '.join((found.column, *found.others))}. Say "
                "which by its header, as in list,image=path:PATH, and audit the others in the same way"
            )
        if rule.kind == "list":
            raise SourceError(f"{path} is a list itself: write the labels into its second column and use no label rule")
        self.notes += found.notes
        self._set_records(
            (Entry(printable(row.path), f"{row.line:010d} {row.path}", row.label) for row in found.rows),
            states_labels=found.states_labels,
        )

    def read(self, record: ImageRecord) -> bytes:
        return read_inside(self._root, self.path_of(record), follow_links=self._follow_links)

    @staticmethod
    def path_of(record: ImageRecord) -> str:
        """The path of an image as the list has it."""
        return record.key.split(" ", 1)[1]

    @staticmethod
    def line_of(record: ImageRecord) -> int:
        """The number of the line that lists an image, from 0."""
        return int(record.key.split(" ", 1)[0])
