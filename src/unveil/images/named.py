"""The files that a list, or the rows of a table, name. They lie outside of it, in its folder or below."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unveil.errors import ImageError, SourceError
from unveil.images.blob import LocalBlob
from unveil.images.label_rule import LabelRule
from unveil.images.readers.arrow import ArrowTable
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.parquet import ParquetTable
from unveil.images.readers.table import Table
from unveil.images.sniff import form_of
from unveil.images.source import existing_form, stays_inside
from unveil.io.walk import real_path

TABLES: dict[str, type[Any]] = {"parquet": ParquetTable, "arrow": ArrowTable}


def named_files(
    container: Path, form: str | None, options: dict[str, str], *, follow_links: bool = False
) -> Iterator[Path]:
    """The files that a list names, and all files in the folders of those that a table names; none of other forms.

    A table of many images often has a path in every row beside its bytes, so that single files are not looked for.
    Raises SourceError for a list or a table that cannot be read.
    """
    form = form or form_of(LocalBlob(container))
    folder = real_path(container).parent
    if form in ("list", "text"):
        listed = ListSource(container, LabelRule(), options, follow_links=follow_links)
        for record in listed.records:
            if stays_inside(path := listed.path_of(record)):
                with contextlib.suppress(ImageError):  # of several files, none is read
                    path = existing_form(folder, path)
                yield folder / path
    elif form in TABLES:
        # Where the container is a link, its own folder is another than that of the link.
        linked = [""] if folder != real_path(container.parent) else []
        for name in (*linked, *_folders(container, form)):
            yield from sorted(file for file in _listed(folder / name) if not file.is_dir())


def _folders(container: Path, form: str) -> list[str]:
    """The folders of the paths in the rows of a table, relative to its own; that itself is left out."""
    found: set[str] = set()
    try:
        table: Table = TABLES[form](LocalBlob(container))
        for field in table.schema:
            if pa.types.is_struct(field.type) and field.type.get_field_index("path") >= 0:
                for paths in table.groups_of(field.name, "path"):
                    found.update(pc.unique(pc.replace_substring_regex(paths, "[^/]*$", "")).drop_null().to_pylist())
    except Exception as error:  # a damaged file raises almost anything
        raise SourceError(f"{container}: a damaged {form} file ({type(error).__name__}: {error})") from None
    return sorted(name for name in found if name and stays_inside(name))


def _listed(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:  # the paths of most tables are those that the images had elsewhere
        return []
