"""The choice of the right reader, by what a path holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.folder import FolderSource
from unveil.images.identity import IdentityRule
from unveil.images.listing import ListSource
from unveil.images.source import Source
from unveil.images.zipped import ZipSource


def open_source(path: Path, rule: IdentityRule | None = None, *, follow_links: bool = False) -> Source:
    """The reader for ``path``: a folder, a zip, or a text file that lists pictures.

    Raises SourceError when there is nothing there or the form is not known.
    """
    rule = rule or IdentityRule()
    if path.is_dir():
        return FolderSource(path, rule, follow_links=follow_links)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if zipfile.is_zipfile(path):
        return ZipSource(path, rule)
    with path.open("rb") as file:
        head = file.read(4096)
    if b"\0" not in head and head.strip():
        return ListSource(path, rule, follow_links=follow_links)
    raise SourceError(
        f"{path}: neither a folder, nor a zip, nor a text file that lists pictures; "
        f"it begins with {head[:8]!r}. Unpack it, or list its pictures in a text file, one `path label` a line"
    )
