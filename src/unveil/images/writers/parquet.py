"""A Parquet file, written without some of its rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow.parquet as pq

from unveil.images.readers.parquet import ParquetSource
from unveil.images.writers.table import copy_side_files, staying_groups


def write_parquet(source: ParquetSource, out: Path, removed: Collection[str]) -> None:
    """The other rows with all their columns, one row group after the other."""
    schema = source.open_table(source.blob).schema
    with pq.ParquetWriter(out / source.blob.name, schema) as writer:
        for rows in staying_groups(source, removed):
            writer.write_table(rows, row_group_size=len(rows))
    copy_side_files(source.blob, out, removed)
