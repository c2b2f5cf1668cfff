"""What the writers of Parquet and Arrow tables share."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa

from unveil.images.blob import Blob, LocalBlob
from unveil.images.readers.table import TableSource

# Files that `save_to_disk` writes beside its tables.
SIDE_FILES = ("state.json", "dataset_info.json")
MAX_SIDE_FILE = 1 << 26


def staying_rows(source: TableSource, removed: Collection[str]) -> dict[int, list[int]]:
    """The rows of each group that stay."""
    rows: dict[int, list[int]] = {}
    for record in source.records:
        group, row = (int(v) for v in record.key.split())
        rows.setdefault(group, [])
        if record.id not in removed:
            rows[group].append(row)
    return rows


def open_for_arrow(blob: Blob) -> Any:
    """The blob as a file that pyarrow reads."""
    return pa.OSFile(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")


def copy_side_files(blob: Blob, out: Path) -> None:
    """Copies what the writer of a folder of tables put beside them."""
    for name in SIDE_FILES:
        file = blob.sibling(name)
        if file is not None:
            (out / name).write_bytes(file.read_all(MAX_SIDE_FILE))
