"""Folders and lists of pictures, written without some of them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from unveil.errors import ImageError
from unveil.images.labels import STYLEGAN_LABELS
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.folder import FolderSource
from unveil.images.source import MAX_LIST_BYTES, Source, printable, read_file, stays_inside
from unveil.types import ImageRecord

# First bytes of picture files, and what such files are called.
SUFFIXES = (
    *((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"BM", ".bmp"), (b"GIF8", ".gif")),
    *((b"P6", ".ppm"), (b"P5", ".pgm")),
)
_UNSAFE = re.compile(r"[^\w.\-=+@ ]")


def write_folder(source: FolderSource, out: Path, removed: Collection[str]) -> None:
    """The same tree; a list of labels among the files loses the lines of what was removed."""
    for record in source.records:
        if record.id not in removed:
            _copy(source, record, out)
    gone = {record.key for record in source.records if record.id in removed}
    for name in source.label_files:
        _write(out / name, labels_without(name, (source.path / name).read_bytes(), gone))


def labels_without(name: str, data: bytes, gone: Collection[str]) -> bytes:
    """A file of labels, StyleGAN's or lines that begin with a path, without those of some paths."""
    if name.rpartition("/")[2] == STYLEGAN_LABELS:
        document = json.loads(data)
        if isinstance(document.get("labels"), list):
            rows = document["labels"]
            document["labels"] = [row for row in rows if not (isinstance(row, list) and row and row[0] in gone)]
        return json.dumps(document).encode()
    return b"".join(line for line in data.splitlines(keepends=True) if not _names_one_of(line, gone))


def _names_one_of(line: bytes, gone: Collection[str]) -> bool:
    text = line.decode("utf-8", "replace").strip()
    separator = "\t" if "\t" in text else "," if "," in text else None
    return text in gone or text.rsplit(separator, 1)[0].strip() in gone


def write_list(source: ListSource, out: Path, removed: Collection[str]) -> None:
    """The list without their lines, and what its other lines name."""
    keys = {record.key for record in source.records if record.id in removed}
    for record in source.records:
        if record.id not in removed:
            _copy(source, record, out)
    text = read_file(source.path, MAX_LIST_BYTES)
    _write(out / source.path.name, labels_without(source.path.name, text, keys))


def write_as_folder(source: Source, out: Path, removed: Collection[str]) -> None:
    """Any container as a folder: a picture a file, in a folder for each person where people are known."""
    people = any(record.person is not None for record in source.records)
    for record in source.records:
        if record.id not in removed:
            try:
                data = source.read(record)
            except ImageError:
                # What cannot be read is no picture that could be kept.
                continue
            folder = _safe(record.person or "unlabelled") if people else "."
            _write(out / folder / _file_name(record, data), data)


def _file_name(record: ImageRecord, data: bytes) -> str:
    name = _safe(record.id.replace("/", "__"))
    suffix = next((suffix for head, suffix in SUFFIXES if data.startswith(head)), "")
    return name if not suffix or Path(name).suffix.lower() in (suffix, ".jpeg") else name + suffix


def _safe(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    safe = _UNSAFE.sub("_", printable(name))[:120].strip()
    return safe if safe.strip(".") else "_"


def _copy(source: Source, record: ImageRecord, out: Path) -> None:
    """What cannot be read, such as a link that leaves the folder, is no picture that could be kept."""
    with contextlib.suppress(ImageError):
        data = source.read(record)
        if stays_inside(record.key):
            _write(out / record.key, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
