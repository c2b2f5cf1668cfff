"""Arrow files and streams, as Hugging Face's ``save_to_disk`` writes them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from unveil.errors import SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.readers.table import Table, TableSource

FILE_MAGIC = b"ARROW1"
# Bytes of all batches together, where they do not stay mapped.
MAX_UNPACKED = 2**32


class ArrowTable(Table):
    """Arrow's file format, or the stream that ``save_to_disk`` writes."""

    def __init__(self, blob: Blob, *, max_unpacked: int = MAX_UNPACKED) -> None:
        source = pa.memory_map(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
        # Compressed batches are unpacked as they are read; others stay mapped and allocate nothing. A pool of memory
        # for this file alone would be exact, but must outlive every array that it holds.
        before = pa.total_allocated_bytes()
        if blob.read(0, len(FILE_MAGIC)) == FILE_MAGIC:
            reader = pa.ipc.open_file(source)
            stored = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(source)
            stored = iter(reader)
        batches = []
        for batch in stored:
            batches.append(batch)
            if pa.total_allocated_bytes() - before > max_unpacked:
                raise SourceError(
                    f"{blob.where}: its batches take more than {max_unpacked} bytes unpacked; write the file again "
                    "without compression, on a disk of this machine"
                )
        self.schema = reader.schema
        self._batches = batches
        self.groups = [len(batch) for batch in batches]
        self.sizes = [0] * len(batches)  # mapped, not unpacked

    def rows(self, group: int) -> Any:
        """All columns of a batch, as an Arrow table with checked offsets."""
        rows = pa.Table.from_batches([self._batches[group]])
        rows.validate(full=True)
        return rows

    def _column(self, group: int, name: str, field: str | None) -> Any:
        return self._batches[group].column(self.schema.get_field_index(name))


class ArrowSource(TableSource):
    """Every row of an Arrow file or stream with a column of images."""

    kind = "Arrow"

    @staticmethod
    def open_table(blob: Blob) -> Table:
        return ArrowTable(blob)
