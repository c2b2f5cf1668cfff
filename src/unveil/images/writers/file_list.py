"""A list of images, written without some of its lines, together with the images that it lists."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from unveil.images.readers.file_list import ListSource
from unveil.images.source import MAX_LIST_BYTES, read_file
from unveil.images.writers.base import copy_image, lines_without, write_bytes


def write_list(source: ListSource, out: Path, removed: Collection[str]) -> None:
    """The list without the lines of the removed images, and the images of its other lines."""
    lines = {source.line_of(record) for record in source.records if record.id in removed}
    # A list may name one image many times.
    staying = {source.path_of(record): record for record in source.records if record.id not in removed}
    for path, record in staying.items():
        copy_image(source, record, path, out)
    write_bytes(out / source.path.name, lines_without(read_file(source.path, MAX_LIST_BYTES), lines))
