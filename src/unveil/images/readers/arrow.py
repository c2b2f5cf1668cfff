"""Parquet and Arrow tables, as Hugging Face's datasets write them."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.label_rule import LabelRule
from unveil.images.lru import LruCache
from unveil.images.readers.columns import IMAGE_COLUMNS, LABEL_NAMES, choose_columns
from unveil.images.source import MAX_FILE_BYTES, Source, check_rows, numbered, printable, read_inside
from unveil.types import ImageRecord

# Groups of rows are unpacked whole; writers for pictures put some hundred rows into one.
MAX_GROUP = 2**30
GROUPS_KEPT = 3


class _Table(ABC):
    """A table whose rows lie in groups."""

    schema: pa.Schema
    groups: list[int]  # rows of each
    sizes: list[int]  # bytes of each, unpacked, as far as the file tells

    def column(self, group: int, name: str, field: str | None = None) -> Any:
        """A column of one group, or one field of a column of structs, as an Arrow array whose offsets are checked."""
        array = self._column(group, name, field)
        # Offsets beyond a buffer would be followed.
        array.validate(full=True)
        if len(array) != self.groups[group]:
            raise ValueError(f"{len(array)} rows in group {group}, which should hold {self.groups[group]}")
        return array if field is None else array.field(field)

    @abstractmethod
    def _column(self, group: int, name: str, field: str | None) -> Any: ...


class _Parquet(_Table):
    def __init__(self, blob: Blob) -> None:
        source = pa.OSFile(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
        self._file = pq.ParquetFile(source)
        self.schema = self._file.schema_arrow
        meta = self._file.metadata
        # Nothing is asked of a single column: pyarrow lets the exception of a damaged one through to C, which ends the
        # process.
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        self.groups = [group.num_rows for group in groups]
        self.sizes = [group.total_byte_size for group in groups]

    def _column(self, group: int, name: str, field: str | None) -> Any:
        wanted = name if field is None else f"{name}.{field}"
        table = self._file.read_row_group(group, columns=[wanted])
        chunks = table.column(name).chunks
        return pa.concat_arrays(chunks) if chunks else pa.array([], self.schema.field(name).type)


class _Arrow(_Table):
    """Arrow's file format, or the stream that ``save_to_disk`` writes."""

    def __init__(self, blob: Blob) -> None:
        source = pa.memory_map(str(blob.path)) if isinstance(blob, LocalBlob) else pa.PythonFile(blob.open(), "r")
        if blob.read(0, 6) == b"ARROW1":
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


class TableSource(Source):
    """Every row of a table with a column of pictures: bytes, or structs of bytes and path."""

    def __init__(self, blob: Blob, rule: LabelRule, form: str, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.kind = "Parquet" if form == "parquet" else "Arrow"
        self.blob = blob
        options = options or {}
        self._folder = blob.path.resolve().parent if isinstance(blob, LocalBlob) else None
        self._kept: LruCache[int, tuple[Any, Any]] = LruCache(GROUPS_KEPT)
        self._lock = threading.Lock()
        try:
            self._table = open_table(blob, form)
            schema = self._table.schema
            images = [f.name for f in schema if holds_images(f.type)]
            what = f"{blob.where}: the column of pictures"
            self._image = choose_columns(images, options.get("image"), IMAGE_COLUMNS, what, "image")
            columns = [f.name for f in schema if _holds_labels(f.type)]
            label = choose_columns(
                columns, options.get("label"), LABEL_NAMES, f"{blob.where}: the labels", "label", needed=False
            )
            check_rows(sum(self._table.groups), blob)
            ids = self._ids()
            keys = [f"{group} {row}" for group, n in enumerate(self._table.groups) for row in range(n)]
            if len(ids) != len(keys):
                raise ValueError(f"{len(ids)} rows, {len(keys)} in its groups")
            labels: dict[str, str | None] = {}
            if label is not None and rule.may_use_labels:
                labels = dict(zip(ids, self._labels(label), strict=True))
        except SourceError:
            raise
        except ImageError as error:
            raise SourceError(f"{blob.where}: {error}") from None
        except Exception as error:  # a damaged file raises almost anything
            raise SourceError(f"{blob.where}: a damaged {self.kind} file ({type(error).__name__}: {error})") from None
        known = {id: text for id, text in labels.items() if text is not None}
        self._set_records(zip(ids, keys, strict=True), labels=known, in_order=True)

    def read(self, record: ImageRecord) -> bytes:
        group, row = (int(v) for v in record.key.split())
        try:
            data, path = (None if part is None else part[row].as_py() for part in self._group(group))
        except ImageError:
            raise
        except Exception as error:  # as above
            raise ImageError("read", "damaged record", f"row {record.key}: {type(error).__name__}: {error}") from None
        if data is None and path is not None and self._folder is not None:
            return read_inside(self._folder, path)
        if data is None:
            raise ImageError("read", "no image in the row", "neither bytes nor a path")
        if len(data) > MAX_FILE_BYTES:
            raise ImageError("read", "unreadable file", f"more than {MAX_FILE_BYTES} bytes")
        return bytes(data)

    def _group(self, group: int) -> tuple[Any, Any]:
        """The bytes and the paths of a group of rows, as Arrow arrays; None for what the column has not."""
        size = self._table.sizes[group]
        if size > MAX_GROUP:
            raise ImageError(
                "read",
                "row group too large",
                f"{size} bytes, at most {MAX_GROUP} are read; write the file anew with row_group_size=1000",
            )
        # A group is unpacked once, however many threads ask for it.
        with self._lock:
            return self._kept.get(group, lambda: self._parts(group))

    def _parts(self, group: int) -> tuple[Any, Any]:
        column = self._table.column(group, self._image)
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        struct = pa.types.is_struct(column.type)
        # Flattened, so that a missing row has no bytes.
        parts = dict(zip(fields, column.flatten(), strict=True)) if struct else {"bytes": column}
        return parts.get("bytes"), parts.get("path")

    def _ids(self) -> list[str]:
        """Names of the pictures where every row has one, else numbers."""
        numbers = numbered(range(sum(self._table.groups)))
        kind = self._table.schema.field(self._image).type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
            return numbers
        paths: list[str | None] = []
        for group in range(len(self._table.groups)):
            paths += self._table.column(group, self._image, "path").to_pylist()
            if None in paths:
                return numbers
        return [printable(path or "") for path in paths]

    def _labels(self, name: str) -> list[str | None]:
        names = _class_names(self._table.schema, name)
        labels: list[str | None] = []
        for group in range(len(self._table.groups)):
            for value in self._table.column(group, name).to_pylist():
                known = names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value
                labels.append(None if known is None else str(known))
        return labels


def open_table(blob: Blob, form: str) -> _Table:
    """The table in a Parquet or Arrow file; raises what pyarrow raises when it is damaged."""
    return _Parquet(blob) if form == "parquet" else _Arrow(blob)


def holds_images(kind: Any) -> bool:
    """Whether values of this Arrow type can be picture files."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and holds_images(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def holds_vectors(kind: Any) -> bool:
    """Whether values of this Arrow type can be embeddings."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


def _holds_labels(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _class_names(schema: Any, name: str) -> list[str]:
    """The names of a Hugging Face ClassLabel; empty when the column is none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[name]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []


def is_table_of_vectors(path: Path) -> bool:
    """Whether a Parquet file holds embeddings and no pictures; False for a file that cannot be read."""
    try:
        schema = pq.read_schema(path)
    except Exception:  # as above
        return False
    return any(holds_vectors(f.type) for f in schema) and not any(holds_images(f.type) for f in schema)
