"""A folder of images, written without some of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from unveil.images.readers.folder import FolderSource
from unveil.images.source import printable
from unveil.images.writers.base import copy_image, labels_without, write_bytes
from unveil.types import ImageRecord


def write_folder(source: FolderSource, out: Path, removed: Collection[str]) -> None:
    """The same tree with its other files; files of labels lose the rows of the removed images."""
    for record in source.records:
        if record.id not in removed:
            copy_image(source, record, record.key, out)
    for entry in source.ignored:
        copy_image(source, ImageRecord(entry.name, None, entry.key), entry.key, out)
    names = {printable(record.key) for record in source.records if record.id in removed}
    for name in source.label_files:
        write_bytes(out / name, labels_without(name, (source.path / name).read_bytes(), names))
