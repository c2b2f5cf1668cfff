"""What the writers of Parquet and Arrow tables share."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from unveil.errors import SourceError
from unveil.images.blob import Blob
from unveil.images.readers.table import TableSource
from unveil.images.source import read_file, stays_inside

# Files that `save_to_disk` writes beside its tables.
STATE, SPLITS = "state.json", "dataset_dict.json"
SIDE_FILES = (STATE, "dataset_info.json")
MAX_SIDE_FILE = 1 << 26
# Of a side file that is changed: JSON takes twenty times as much in memory.
MAX_STATE = 1 << 22


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


def copy_side_files(blob: Blob, out: Path, removed: Collection[str]) -> None:
    """Copies what the writer of a folder of tables put beside them."""
    for name in SIDE_FILES:
        file = blob.sibling(name)
        if file is not None:
            data = file.read_all(MAX_SIDE_FILE)
            (out / name).write_bytes(_state(data, out, removed) if name == STATE else data)


def _state(data: bytes, out: Path, removed: Collection[str]) -> bytes:
    """A ``state.json`` of the tables that are written so far; any other file unchanged.

    Its fingerprint is another one: by it, `datasets` finds earlier results for the rows that are removed.
    """
    state = read_json(data)
    files = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(files, list):
        return data
    before = (read_json((out / STATE).read_bytes()) if (out / STATE).is_file() else None) or state
    digest = hashlib.sha256(json.dumps([before.get("_fingerprint"), *sorted(removed)]).encode())
    staying = [file for file in files if isinstance(file, dict) and is_written(out, file.get("filename"))]
    return json.dumps({**state, "_data_files": staying, "_fingerprint": digest.hexdigest()[:16]}, indent=2).encode()


def write_splits(folder: Path, out: Path) -> None:
    """The ``dataset_dict.json`` of a folder of splits, which `datasets` asks for, with those that are written."""
    try:
        document = read_json(read_file(folder / SPLITS, MAX_STATE))
    except SourceError:
        return
    splits = document.get("splits") if isinstance(document, dict) else None
    if isinstance(splits, list):
        staying = [split for split in splits if is_written(out, split)]
        (out / SPLITS).write_text(json.dumps({"splits": staying}))


def read_json(data: bytes) -> Any:
    """The JSON of a side file, None where it is none, or too large a one."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data) if len(data) <= MAX_STATE else None
    return None


def is_written(out: Path, name: object) -> bool:
    """Whether a copy has a file or a folder of this name."""
    return isinstance(name, str) and stays_inside(name) and (out / name).exists()
