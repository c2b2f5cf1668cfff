"""What the writers of Parquet and Arrow tables share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from unveil.errors import SourceError
from unveil.images.blob import Blob
from unveil.images.readers.table import TableSource

# Files that `save_to_disk` writes beside its tables.
SIDE_FILES = ("state.json", "dataset_info.json")
MAX_SIDE_FILE = 1 << 26


def staying_groups(source: TableSource, removed: Collection[str]) -> Iterator[Any]:
    """The rows that stay, as an Arrow table for each group that has any; SourceError when a group is damaged."""
    staying: dict[int, list[int]] = {}
    for record in source.records:
        group, row = (int(v) for v in record.key.split())
        if record.id not in removed:
            staying.setdefault(group, []).append(row)
    table = source.open_table(source.blob)
    for group, numbers in staying.items():
        try:
            rows = _take(table.rows(group), numbers)
        except Exception as error:  # a damaged file raises almost anything
            raise SourceError(
                f"{source.where}: group {group} of its rows cannot be copied ({type(error).__name__}: {error}); use "
                "--as-folder"
            ) from None
        yield rows


def _take(table: Any, rows: list[int]) -> Any:
    """Some rows of a table, as a table of one batch."""
    try:
        return table.take(pa.array(rows, pa.int64())).combine_chunks()
    except pa.ArrowNotImplementedError:
        # pyarrow cannot take rows of views, as polars writes them.
        return pa.concat_tables([table.slice(row, 1) for row in rows]).combine_chunks()


def copy_side_files(blob: Blob, out: Path) -> None:
    """Copies what the writer of a folder of tables put beside them."""
    for name in SIDE_FILES:
        file = blob.sibling(name)
        if file is not None:
            (out / name).write_bytes(file.read_all(MAX_SIDE_FILE))
