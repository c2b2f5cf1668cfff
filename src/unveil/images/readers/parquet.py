"""Parquet files, as Hugging Face's datasets publishes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unveil.errors import ImageError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.readers.table import (
    MAX_GROUP,
    Table,
    TableSource,
    holds_images,
    holds_vectors,
)
from unveil.images.source import MAX_FILE_BYTES
from unveil.images.unpacked import most_unpacked

# Bytes that are unpacked at once to look at a column that is not read, and rows at the least.
PIECE, BATCH_ROWS = 2**22, 4


class ParquetTable(Table):
    """A Parquet file, one row group at a time."""

    def __init__(self, blob: Blob) -> None:
        source = pa.OSFile(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
        # Reading ahead saves requests to a remote address, and copies what is on this machine.
        self._file = pq.ParquetFile(source, pre_buffer=not isinstance(blob, LocalBlob))
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        # Single columns are not asked for their size: the exception of a damaged one reaches C and ends the process.
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self.groups = [group.num_rows for group in groups]
        self.sizes = [group.total_byte_size for group in groups]
        # Images hardly shrink, so what unpacks to far more than the file holds is none.
        self.most = most_unpacked(blob.size)
        self._limit = min(MAX_GROUP, self.most)

    def _column(self, group: int, name: str, field: str | None) -> Any:
        batches = self._batches(group, [name if field is None else f"{name}.{field}"])
        chunks = [batch.column(name) for batch in batches]
        return pa.concat_arrays(chunks) if chunks else pa.array([], self.schema.field(name).type)

    def pieces(self, name: str, field: str | None = None) -> Iterator[Any]:
        for group, n in enumerate(self.groups):
            self._check_size(group)
            # Of the largest value that the group can hold, repeated by a dictionary.
            rows = max(BATCH_ROWS, PIECE * 32 // max(self.sizes[group], 2**20))
            read, waiting, size = 0, [], 0
            columns = [name if field is None else f"{name}.{field}"]
            for batch in self._file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                read += len(batch)
                size += batch.nbytes
                waiting.append(batch.column(name))
                if size > PIECE or read == n:
                    yield _checked(waiting, field)
                    waiting, size = [], 0
            if read != n or waiting:
                raise ValueError(f"{read} rows in group {group}, which should hold {n}")

    def rows(self, group: int) -> Any:
        """All columns of a group of rows, as an Arrow table with checked offsets."""
        rows = pa.Table.from_batches(self._batches(group, None), self.schema)
        rows.validate(full=True)
        return rows

    def _check_size(self, group: int) -> None:
        if self.sizes[group] > MAX_GROUP:
            raise ImageError("read", "row group too large", f"{self.sizes[group]} bytes, at most {MAX_GROUP} are read")

    def _batches(self, group: int, columns: list[str] | None) -> list[Any]:
        """The batches of a group; ImageError when they take more than `MAX_GROUP` bytes, or far more than the file."""
        self._check_size(group)
        # A dictionary can repeat one large value in every row, so that the stated size says nothing.
        rows = max(1, self._limit // max(self.sizes[group], MAX_FILE_BYTES))
        batches, total = [], 0
        # Threads of pyarrow would take one column each; starting them for every batch takes longer than a batch.
        for batch in self._file.iter_batches(batch_size=rows, row_groups=[group], columns=columns, use_threads=False):
            batches.append(batch)
            total += batch.nbytes
            if total > self._limit:
                raise ImageError(
                    "read",
                    "row group too large",
                    f"more than {self._limit} bytes; write the file again with row_group_size=1000",
                )
        return batches


def _checked(arrays: list[Any], field: str | None) -> Any:
    """Arrays of one column in one, or one of its fields, with checked offsets."""
    array = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    array.validate(full=True)
    return array if field is None else array.field(field)


class ParquetSource(TableSource):
    """Every row of a Parquet file with a column of images."""

    kind = "Parquet"

    @staticmethod
    def open_table(blob: Blob) -> Table:
        return ParquetTable(blob)


def is_table_of_vectors(path: Path) -> bool:
    """Whether a Parquet file holds embeddings and no images; False for a file that cannot be read."""
    try:
        schema = pq.read_schema(path)
    except Exception:  # a damaged file raises almost anything; its reader reports it
        return False
    return any(holds_vectors(f.type) for f in schema) and not any(holds_images(f.type) for f in schema)
