"""An Arrow file or stream, written without some of its rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from unveil.images.readers.arrow import FILE_MAGIC, ArrowSource
from unveil.images.writers.table import copy_side_files, open_for_arrow, staying_rows


def write_arrow(source: ArrowSource, out: Path, removed: Collection[str]) -> None:
    """The other rows with all their columns, one batch after the other, as a file or a stream like the original."""
    staying = staying_rows(source, removed)
    blob = source.blob
    is_file = blob.read(0, len(FILE_MAGIC)) == FILE_MAGIC
    opened = pa.ipc.open_file(open_for_arrow(blob)) if is_file else pa.ipc.open_stream(open_for_arrow(blob))
    batches = (opened.get_batch(i) for i in range(opened.num_record_batches)) if is_file else iter(opened)
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(str(out / blob.name), opened.schema) as writer:
        for group, batch in enumerate(batches):
            rows = staying.get(group, [])
            if rows:
                writer.write_batch(batch.take(pa.array(rows)))
    copy_side_files(blob, out)
