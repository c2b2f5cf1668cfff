"""Folders of others: links may form a circle, and folders may be nested thousands of levels deep."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from unveil.errors import SourceError

# Python and many programs fail on a thousand levels; sets of images have a handful.
MAX_DEPTH = 200


def real_path(path: str | Path) -> Path:
    """The absolute path without links. A link in a circle stays as it is, where `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def walk(
    folder: Path, *, follow_links: bool = False, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, at most `MAX_DEPTH` levels deep, each folder once even where followed links form a circle.

    Folders are in the order of their names. One in ``folder`` that links name as well has its own name. A folder below
    those levels is an error of the kind ENAMETOOLONG.
    """
    top = os.fspath(folder).rstrip("/")
    visited: set[str] = set()
    inside = real_path(folder)
    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=follow_links):
        if parent[len(top) :].count("/") >= MAX_DEPTH:
            if onerror is not None:
                for name in folders:
                    onerror(OSError(errno.ENAMETOOLONG, f"more than {MAX_DEPTH} levels of folders", f"{parent}/{name}"))
            folders.clear()
        folders.sort()
        if follow_links:
            real = os.path.realpath(parent)
            # Links, also to a folder above, may reach what lies inside before its own name does.
            own = os.path.normpath(f"{inside}/{parent[len(top) :]}")
            if real in visited or (real != own and Path(real).is_relative_to(inside)):
                folders.clear()
                continue
            visited.add(real)
        yield parent, folders, names


def leads_inside(path: str, folder: Path) -> bool:
    """Whether a path is a link to what lies in a folder, which is given without links, or to that itself."""
    return os.path.islink(path) and real_path(path).is_relative_to(folder)  # noqa: PTH114 (of many folders)


def walk_whole(
    folder: Path, too_long: Callable[[str], None], *, follow_links: bool = False
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `walk`, for a folder that must be read as a whole.

    Calls ``too_long`` with each folder that the system cannot open since its path is too long. Raises SourceError for
    any other that cannot be listed.
    """

    def stop(error: OSError) -> None:
        if error.errno != errno.ENAMETOOLONG:
            raise SourceError(f"{error.filename}: {error.strerror}; the whole folder must be readable") from None
        too_long(error.filename)

    yield from walk(folder, follow_links=follow_links, onerror=stop)
