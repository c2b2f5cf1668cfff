"""The files of a finished run that programs read, and how to see that they belong to one audit.

`manifest.json` and `audit.json` hold the same manifest. `manifest.json` also holds the SHA-256 of every other part and
of the result, and it is written last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unveil.images.readers.table_values import value_bytes
from unveil.images.unpacked import most_unpacked
from unveil.io.checksums import document_sha256, file_sha256
from unveil.results import AuditResult, plain, to_document
from unveil.types import Role

STATE = "stores/state.npz"
PAIRS, IMAGES, EXPOSURES, MATCHES = "pairs.parquet", "images.parquet", "exposures.parquet", "matches.parquet"
# The names of the checksums in the manifest: of the parts, of the result, and of the file with the result as the audit
# wrote it. `unveil report` writes that file again.
PARTS, RESULT, DOCUMENT = "parts", "result", "document"
# The checksum of the schema of that file, by which a result that another state of unveil wrote is known.
SCHEMA = "schema"
# The types of the columns in the tables of a run, and how many rows are read at a time.
PLAIN = (pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
BATCH_ROWS = 65_536
# What a row takes in memory, even where all its values are missing.
ROW_BYTES = 8


def audit_key(manifest: Mapping[str, Any]) -> str:
    """The key of the audit with this manifest: its settings, the hashes of its inputs and its versions."""
    return document_sha256(plain(manifest))


def result_sha256(result: AuditResult) -> str:
    """The SHA-256 of a result as `audit.json` states it.

    Without its manifest, which `audit_key` identifies, and its review, which `unveil report` adds later.
    """
    document = {name: value for name, value in to_document(result).items() if name not in ("manifest", "review")}
    return document_sha256(document)


def checksums(run: Path) -> dict[str, str]:
    """The SHA-256 of every table and of every file of vectors in a run, by its name there."""
    files = [*run.glob("*.parquet"), *(run / "stores").glob("*")]
    return {file.relative_to(run).as_posix(): file_sha256(file) for file in sorted(files) if file.is_file()}


def read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table of a run, or some of its columns. Somebody else may have written it.

    Raises ValueError, OSError or ArrowException for a file that is damaged, holds other values than a run does, or
    unpacks to far more than its size.
    """
    size = path.stat().st_size
    schema = pq.read_schema(path)
    other = next((f for f in schema if not any(is_plain(f.type) for is_plain in PLAIN)), None)
    if other is not None:
        raise ValueError(f"values of type {other.type}")
    # A text that repeats is stored once, and unpacked only when it is known that all fit.
    texts = [f.name for f in schema if pa.types.is_string(f.type)]
    file = pq.ParquetFile(pa.OSFile(str(path)), read_dictionary=texts)
    if file.metadata.num_rows * ROW_BYTES > most_unpacked(size):
        raise ValueError(f"{file.metadata.num_rows} rows in {size} bytes")
    total, batches = 0, []
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        batch.validate(full=True)
        total += sum(map(value_bytes, batch.columns))
        if total > most_unpacked(size):
            raise ValueError(f"more than {most_unpacked(size)} bytes unpacked from {size}")
        batches.append(batch)
    chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(batches).cast(chosen) if batches else chosen.empty_table()


def vector_file(run: Path, role: Role, channel: str) -> Path:
    """The file of a channel's vectors of one role."""
    stem = {"face": role, "appearance": f"{role}.appearance.whitened"}.get(channel, f"{role}.{channel}")
    return run / "stores" / f"{stem}.npy"


def role_file(run: Path, role: Role) -> Path:
    """The file of the ids, people and digests of one role's vectors."""
    return run / "stores" / f"{role}.parquet"
