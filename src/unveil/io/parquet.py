"""Parquet files that replace another when they are complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from unveil.io.atomic import replacing

# Rows that are written at once: a quarter of PyArrow's number, since a million rows of texts take 300 MB.
ROW_GROUP = 256 * 1024


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a table that is in memory."""
    with replacing(path) as file:
        pq.write_table(table, file)


def write_row_groups(path: Path, schema: pa.Schema, groups: Iterable[Mapping[str, Any]]) -> None:
    """Writes tables with the columns of ``schema``, one after the other, each as one row group."""
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        for columns in groups:
            writer.write_table(pa.table({name: _as(columns[name], schema.field(name).type) for name in schema.names}))


def row_groups(n: int) -> Iterable[npt.NDArray[np.int64]]:
    """The rows of each row group of a table of ``n``; one without rows where there are none."""
    return (np.arange(start, min(start + ROW_GROUP, n)) for start in range(0, max(n, 1), ROW_GROUP))


def _as(values: Any, kind: pa.DataType) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == kind else array.cast(kind)
