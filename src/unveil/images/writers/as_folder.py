"""Any container, written as a folder of image files."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path

from unveil.errors import ImageError, SourceError
from unveil.images.readers.shards import ShardedSource
from unveil.images.source import Source, printable, unique_ids
from unveil.images.writers.base import write_bytes
from unveil.types import ImageRecord

# First bytes of image files, and the suffix of each format.
SUFFIXES = (
    *((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"BM", ".bmp"), (b"GIF8", ".gif")),
    *((b"P6", ".ppm"), (b"P5", ".pgm")),
)
_UNSAFE = re.compile(r"[^\w.\-=+@ ]")
MAX_NAME = 120
# Images hardly shrink; raw pixels in a compressed container may.
MAX_RATIO, SPARE_BYTES = 64, 2**30


def write_as_folder(source: Source, out: Path, removed: Collection[str]) -> None:
    """One file an image, in a folder for each person. Images without a label lie beside these folders.

    Unreadable images are left out.

    Raises SourceError when the images take far more bytes than the container: they are then the same bytes, many times.
    """
    limit, written = _limit(source), 0
    people = list(dict.fromkeys(record.person for record in source.records if record.person is not None))
    # Labels that differ in unsafe characters alone are two people.
    folders: dict[str | None, str] = dict(zip(people, unique_ids([_safe(person) for person in people]), strict=True))
    for record in source.records:
        if record.id not in removed:
            try:
                data = source.read(record)
            except ImageError:
                continue
            written += len(data)
            if written > limit:
                raise SourceError(
                    f"{source.where}: its images take more than {limit} bytes, far more than the container, so they "
                    "share bytes; nothing is copied"
                )
            write_bytes(_free(out / folders.get(record.person, ".") / _file_name(record, data)), data)


def _limit(source: Source) -> int:
    """The bytes that the images of a source may take, where the size of its files is known."""
    parts = source.parts if isinstance(source, ShardedSource) else [source]
    files = [Path(part.where) for part in parts]
    if not all(file.is_file() for file in files):
        return sys.maxsize
    return SPARE_BYTES + MAX_RATIO * sum(file.stat().st_size for file in files)


def _free(path: Path) -> Path:
    """The path, or one with a number: names that differ only in unsafe characters would otherwise be one file."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}~{number}{path.suffix}")
    return free


def _file_name(record: ImageRecord, data: bytes) -> str:
    name = _safe(record.id.replace("/", "__"))
    suffix = next((suffix for head, suffix in SUFFIXES if data.startswith(head)), "")
    return name if not suffix or Path(name).suffix.lower() in (suffix, ".jpeg") else name + suffix


def _safe(name: str) -> str:
    """A name as one part of a path, without characters that mean something to a file system."""
    safe = _UNSAFE.sub("_", printable(name))[:MAX_NAME].strip()
    return safe if safe.strip(".") else "_"
