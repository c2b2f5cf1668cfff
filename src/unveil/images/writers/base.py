"""The interface of every writer, and the functions that writers share."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from unveil.errors import ImageError, SettingError
from unveil.images.labels import STYLEGAN_LABELS, parse_list
from unveil.images.source import Source, printable, stays_inside
from unveil.io.private import make_private
from unveil.types import ImageRecord

S_contra = TypeVar("S_contra", bound=Source, contravariant=True)


class Writer(Protocol[S_contra]):
    """Writes a container again, into an empty folder, without the records whose ids are in ``removed``.

    To add a writer for another container:

    1. Write a function with these parameters in a file of its own in ``unveil/images/writers/``. It gives the file its
       own name, copies what stays byte for byte, and drops the labels of what is removed. Records are paired by id or
       key, never by file name alone: names may repeat.
    2. Add one row to ``WRITERS`` in ``unveil/images/writers/registry.py``.
    3. Add the name of the container to ``WRITTEN`` in ``tests/images/test_filtered_copy.py``.
    """

    def __call__(self, source: S_contra, out: Path, removed: Collection[str]) -> None: ...


def labels_without(name: str, data: bytes, removed: Collection[str]) -> bytes:
    """A file of labels, StyleGAN's or a list, without the rows of some paths."""
    if name.rpartition("/")[2] == STYLEGAN_LABELS:
        document = json.loads(data)
        if isinstance(document.get("labels"), list):
            rows = document["labels"]
            document["labels"] = [row for row in rows if not (isinstance(row, list) and row and row[0] in removed)]
        return json.dumps(document).encode()
    lines = {row.line for row in parse_list(data, name).rows if printable(row.path) in removed}
    return lines_without(data, lines)


def lines_without(data: bytes, removed: Collection[int]) -> bytes:
    """A text without some of its lines, by their numbers from 0."""
    return b"".join(line for n, line in enumerate(data.splitlines(keepends=True)) if n not in removed)


def library(name: str, kind: str) -> Any:
    """A library of the extra ``copy``, which writes a kind of container; SettingError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingError(
            f"{kind} is written through {name}; pip install 'unveil[copy]', or use --as-folder"
        ) from None


def copy_image(source: Source, record: ImageRecord, path: str, out: Path) -> None:
    """Copies one image to a relative path below ``out``. An image that cannot be read, such as a link that leaves the
    folder, is not copied."""
    with contextlib.suppress(ImageError):
        data = source.read(record)
        if stays_inside(path):
            write_bytes(out / path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file and the folders above it."""
    make_private(path.parent)
    path.write_bytes(data)
