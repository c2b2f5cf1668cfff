"""Tables and arrays, written without some of their rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unveil.images.blob import Blob, LocalBlob
from unveil.images.readers.arrow import TableSource
from unveil.images.readers.embeddings import EmbeddingSource

# What the writer of a folder of Arrow files puts beside them.
BESIDE = ("state.json", "dataset_info.json")


def write_columns(source: TableSource, out: Path, removed: Collection[str]) -> None:
    """The other rows, all columns, group by group, in the form the file had."""
    keep: dict[int, list[int]] = {}
    for record in source.records:
        group, row = (int(v) for v in record.key.split())
        keep.setdefault(group, [])
        if record.id not in removed:
            keep[group].append(row)
    if source.kind == "Parquet":
        _write_parquet(source.blob, out / source.blob.name, keep)
    else:
        _write_arrow(source.blob, out / source.blob.name, keep)
    for name in BESIDE:
        beside = source.blob.beside(name)
        if beside is not None:
            (out / name).write_bytes(beside.whole(1 << 26))


def _file(blob: Blob) -> Any:
    return pa.OSFile(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")


def _write_parquet(blob: Blob, path: Path, keep: dict[int, list[int]]) -> None:
    file = pq.ParquetFile(_file(blob))
    with pq.ParquetWriter(path, file.schema_arrow) as writer:
        for group in range(file.metadata.num_row_groups):
            rows = keep.get(group, [])
            if rows:
                writer.write_table(file.read_row_group(group).take(rows), row_group_size=len(rows))


def _write_arrow(blob: Blob, path: Path, keep: dict[int, list[int]]) -> None:
    is_file = blob.read(0, 6) == b"ARROW1"
    opened = pa.ipc.open_file(_file(blob)) if is_file else pa.ipc.open_stream(_file(blob))
    batches = (opened.get_batch(i) for i in range(opened.num_record_batches)) if is_file else iter(opened)
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(str(path), opened.schema) as writer:
        for group, batch in enumerate(batches):
            rows = keep.get(group, [])
            if rows:
                writer.write_batch(batch.take(pa.array(rows)))


def write_embeddings(source: EmbeddingSource, out: Path, removed: Collection[str]) -> None:
    """The other vectors with ids and people as ``embeddings.npz``, whatever form they came in."""
    kept = [i for i, record in enumerate(source.records) if record.id not in removed]
    records = [source.records[i] for i in kept]
    arrays: dict[str, Any] = {
        "vectors": np.asarray(source.vectors[kept]),
        "ids": np.array([record.id for record in records]),
        "people": np.array([record.person or "" for record in records]),
    }
    arrays |= {"model_id": np.array(source.model)} if source.model else {}
    arrays |= {"network": np.array(source.network)} if source.network else {}
    np.savez(out / "embeddings.npz", allow_pickle=False, **arrays)
