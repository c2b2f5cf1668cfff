"""An Arrow file or stream, written without some of its rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from unveil.images.readers.arrow import FILE_MAGIC, ArrowSource
from unveil.images.writers.table import copy_side_files, staying_groups


def write_arrow(source: ArrowSource, out: Path, removed: Collection[str]) -> None:
    """The other rows with all their columns, one batch after the other, as a file or a stream like the original."""
    blob = source.blob
    new = pa.ipc.new_file if blob.read(0, len(FILE_MAGIC)) == FILE_MAGIC else pa.ipc.new_stream
    with new(str(out / blob.name), source.open_table(blob).schema) as writer:
        for rows in staying_groups(source, removed):
            writer.write_table(rows)
    copy_side_files(blob, out, removed)
