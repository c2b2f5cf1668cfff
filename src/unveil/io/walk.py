"""Folders of others: links may form a circle, and folders may be nested thousands of levels deep."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Python and many programs fail on a thousand levels; sets of images have a handful.
MAX_DEPTH = 200


def real_path(path: str | Path) -> Path:
    """The absolute path without links. A link in a circle stays as it is, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def walk(
    folder: Path, *, follow_links: bool = False, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, at most `MAX_DEPTH` levels deep. A folder below them is an error of the kind ENAMETOOLONG."""
    top = os.fspath(folder).rstrip("/")
    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=follow_links):
        if parent[len(top) :].count("/") >= MAX_DEPTH:
            if onerror is not None:
                for name in folders:
                    onerror(OSError(errno.ENAMETOOLONG, f"more than {MAX_DEPTH} levels of folders", f"{parent}/{name}"))
            folders.clear()
        yield parent, folders, names
