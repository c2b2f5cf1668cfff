"""A Parquet file, written without some of its rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow.parquet as pq

from unveil.images.readers.parquet import ParquetSource
from unveil.images.writers.table import copy_side_files, open_for_arrow, staying_rows


def write_parquet(source: ParquetSource, out: Path, removed: Collection[str]) -> None:
    """The other rows with all their columns, one row group after the other."""
    staying = staying_rows(source, removed)
    file = pq.ParquetFile(open_for_arrow(source.blob))
    with pq.ParquetWriter(out / source.blob.name, file.schema_arrow) as writer:
        for group in range(file.metadata.num_row_groups):
            rows = staying.get(group, [])
            if rows:
                writer.write_table(file.read_row_group(group).take(rows), row_group_size=len(rows))
    copy_side_files(source.blob, out)
