"""Images that a text file lists, one `path` or `path label` a line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.labels import Row, parse_list
from unveil.images.source import MAX_LIST_BYTES, Entry, Source, printable, read_file, read_inside
from unveil.images.unread import shown_names
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
        several = _with_several_labels(found.rows)
        if several:
            self.notes.append(
                f"{len(several):,} images stand under several labels in the list and have none, since one face of an "
                f"image is compared: {shown_names(map(printable, several))}"
            )
        self._set_records(
            (
                Entry(
                    printable(row.path),
                    f"{row.line:010d} {row.path}",
                    None if several and os.path.normpath(row.path) in several else row.label,
                )
                for row in found.rows
            ),
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


def _with_several_labels(rows: Iterable[Row]) -> dict[str, None]:
    """The normal paths that have more than one label, in the order of the list."""
    labels: dict[str, str] = {}
    return {
        name: None
        for row in rows
        if row.label and labels.setdefault(name := os.path.normpath(row.path), row.label) != row.label
    }
