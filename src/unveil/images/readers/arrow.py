"""Arrow files and streams, as Hugging Face's ``save_to_disk`` writes them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from unveil.images.blob import Blob, LocalBlob
from unveil.images.readers.table import Table, TableSource

FILE_MAGIC = b"ARROW1"


class ArrowTable(Table):
    """Arrow's file format, or the stream that ``save_to_disk`` writes."""

    def __init__(self, blob: Blob) -> None:
        source = pa.memory_map(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
        if blob.read(0, len(FILE_MAGIC)) == FILE_MAGIC:
            reader = pa.ipc.open_file(source)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        else:
            reader = pa.ipc.open_stream(source)
            batches = list(reader)
        self.schema = reader.schema
        self._batches = batches
        self.groups = [len(batch) for batch in batches]
        self.sizes = [0] * len(batches)  # mapped, not unpacked

    def _column(self, group: int, name: str, field: str | None) -> Any:
        return self._batches[group].column(self.schema.get_field_index(name))


class ArrowSource(TableSource):
    """Every row of an Arrow file or stream with a column of images."""

    kind = "Arrow"

    @staticmethod
    def open_table(blob: Blob) -> Table:
        return ArrowTable(blob)
