"""What Parquet and Arrow tables share: columns of images and labels, in groups of rows."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.decode import is_image
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import labels_of
from unveil.images.labels import is_image_name, labels_beside
from unveil.images.lru import LruCache
from unveil.images.readers.columns import (
    EXAMINED_COLUMNS,
    IMAGE_COLUMNS,
    LABEL_NAMES,
    choose_column,
    notes_of_other_images,
    notes_of_unused,
)
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, numbered_ids, printable, read_inside
from unveil.types import ImageRecord

# A group of rows is unpacked as a whole; writers put some hundred images into one.
MAX_GROUP = 2**30
# JSON takes twenty times its size in memory; the names of a million classes fit.
MAX_FEATURES_BYTES = 2**24
CACHED_GROUPS = 3
# Rows by which a further column is recognised as one of images.
SAMPLED_ROWS = 20


class Table(ABC):
    """A table whose rows are stored in groups."""

    schema: pa.Schema
    groups: list[int]  # rows of each group
    sizes: list[int]  # unpacked bytes of each group, as far as the file states them
    most: int  # bytes that a column may take in all groups together

    def groups_of(self, name: str, field: str | None = None) -> Iterator[Any]:
        """A column, group by group, as Arrow arrays.

        Raises ImageError when it takes far more than the file in all groups together.
        """
        total = 0
        for group in range(len(self.groups)):
            array = self.column(group, name, field)
            total += value_bytes(array)
            if total > self.most:
                raise ImageError("read", "column too large", f"{name} takes more than {self.most} bytes in all rows")
            yield array

    def column(self, group: int, name: str, field: str | None = None) -> Any:
        """A column of one group, or one field of a column of structs, as an Arrow array with checked offsets."""
        array = self._column(group, name, field)
        # Arrow would follow an offset beyond the buffer.
        array.validate(full=True)
        if len(array) != self.groups[group]:
            raise ValueError(f"{len(array)} rows in group {group}, which should hold {self.groups[group]}")
        return array if field is None else array.field(field)

    @abstractmethod
    def rows(self, group: int) -> Any:
        """All columns of one group, as an Arrow table with checked offsets."""

    @abstractmethod
    def _column(self, group: int, name: str, field: str | None) -> Any: ...


class TableSource(Source):
    """Every row of a table with a column of images: bytes, or structs of bytes and path."""

    def __init__(
        self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None, *, max_group: int = MAX_GROUP
    ) -> None:
        super().__init__(blob.where, rule)
        self.blob, self._max_group = blob, max_group
        options = self.options = options or {}
        self._folder = blob.path.resolve().parent if isinstance(blob, LocalBlob) else None
        self._cache: LruCache[int, tuple[Any, Any]] = LruCache(CACHED_GROUPS)
        self._failed: dict[int, ImageError] = {}
        self._lock = threading.Lock()
        try:
            self._table = self.open_table(blob)
            schema = self._table.schema
            images = [f.name for f in schema if holds_images(f.type)]
            what = f"{blob.where}: the column of images"
            self._image = choose_column(images, options.get("image"), IMAGE_COLUMNS, what, "image")
            fields = [f for f in schema if f.name != self._image and may_hold_images(f.type)]
            others = [f.name for k, f in enumerate(fields) if k >= EXAMINED_COLUMNS or self._shows_images(f)]
            self.notes += notes_of_other_images(what, self._image, others, chosen="image" in options)
            columns = [f.name for f in schema if holds_labels(f.type)]
            label = choose_column(
                columns, options.get("label"), LABEL_NAMES, f"{blob.where}: the labels", "label", needed=False
            )
            self.notes += notes_of_unused([f.name for f in schema if f.name != self._image], columns, label)
            check_row_count(sum(self._table.groups), blob)
            names = self._names()
            keys = [f"{group} {row}" for group, n in enumerate(self._table.groups) for row in range(n)]
            if len(names) != len(keys):
                raise ValueError(f"{len(names)} rows, {len(keys)} in its groups")
            labels: list[str | None] = [None] * len(keys)
            if label is not None and rule.may_use_labels:
                labels = self._labels(label)
            entries = [Entry(*row) for row in zip(names, keys, labels, strict=True)]
        except SourceError:
            raise
        except ImageError as error:
            raise SourceError(f"{blob.where}: {error}") from None
        except Exception as error:  # a damaged file raises almost anything
            raise SourceError(f"{blob.where}: a damaged {self.kind} file ({type(error).__name__}: {error})") from None
        self._set_records(entries, listed=labels_beside(rule, blob), states_labels=label is not None, in_order=True)

    @staticmethod
    @abstractmethod
    def open_table(blob: Blob) -> Table:
        """The table in a file; raises what pyarrow raises when the file is damaged."""

    def read(self, record: ImageRecord) -> bytes:
        group, _, row = record.key.partition(" ")
        path = None
        try:
            images, paths = self._group(int(group))
            data = None if images is None else images[int(row)].as_py()
            if data is None and paths is not None:
                path = paths[int(row)].as_py()
        except ImageError:
            raise
        except Exception as error:  # as above
            raise ImageError("read", "damaged record", f"row {record.key}: {type(error).__name__}: {error}") from None
        if data is None and path is not None and self._folder is not None:
            follow_links = isinstance(self.blob, LocalBlob) and self.blob.follow_links
            return read_inside(self._folder, path, follow_links=follow_links)
        if data is None:
            raise ImageError("read", "no image in the row", "neither bytes nor a path")
        if len(data) > MAX_FILE_BYTES:
            raise ImageError("read", "unreadable file", f"more than {MAX_FILE_BYTES} bytes")
        return bytes(data)

    def _group(self, group: int) -> tuple[Any, Any]:
        """The bytes and the paths of a group of rows, as Arrow arrays; None for a field that the column lacks."""
        size = self._table.sizes[group]
        if size > self._max_group:
            raise ImageError(
                "read",
                "row group too large",
                f"{size} bytes, at most {self._max_group} are read; write the file again with row_group_size=1000",
            )
        # A group is unpacked once, however many threads need it, even if it turns out to be too large.
        with self._lock:
            if group in self._failed:
                raise ImageError(*self._failed[group].args)
            try:
                return self._cache.get(group, lambda: self._parts(group))
            except ImageError as error:
                self._failed[group] = error
                raise

    def _parts(self, group: int) -> tuple[Any, Any]:
        column = self._table.column(group, self._image)
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        struct = pa.types.is_struct(column.type)
        # Flattened, so that a missing row has no bytes.
        parts = dict(zip(fields, column.flatten(), strict=True)) if struct else {"bytes": column}
        return parts.get("bytes"), parts.get("path")

    def _shows_images(self, field: Any) -> bool:
        """Whether a column that may hold images does, by its first rows; True where they cannot be read."""
        if holds_lists(field.type):
            return True
        try:
            groups = (self._table.column(group, field.name) for group, rows in enumerate(self._table.groups) if rows)
            values = [value.as_py() for value in next(groups, pa.array([]))[:SAMPLED_ROWS]]
        except Exception:  # a damaged file raises almost anything
            return True
        images = [value.get("bytes") or value.get("path") if isinstance(value, dict) else value for value in values]
        return any(is_image_name(v) if isinstance(v, str) else v is not None and is_image(v) for v in images)

    def _names(self) -> list[str]:
        """The paths of the images where every row has one, else numbers."""
        numbers = numbered_ids(range(sum(self._table.groups)))
        kind = self._table.schema.field(self._image).type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
            return numbers
        paths: list[str | None] = []
        for array in self._table.groups_of(self._image, "path"):
            paths += array.to_pylist()
            if None in paths:
                return numbers
        return [printable(path or "") for path in paths]

    def _labels(self, name: str) -> list[str | None]:
        classes = _class_names(self._table.schema, name)

        def values() -> Iterator[object]:
            for array in self._table.groups_of(name):
                for value in array.to_pylist():
                    known = classes and isinstance(value, int) and 0 <= value < len(classes)
                    yield classes[value] if known else value

        return labels_of(values())


def value_bytes(array: Any) -> int:
    """The bytes of the values of an Arrow array. A text that many rows of a dictionary or of views share
    counts as often as it occurs."""
    if pa.types.is_dictionary(array.type):
        lengths = _lengths(array.dictionary)
        if lengths is None:
            return int(array.nbytes)
        return int(array.nbytes) + int(pa.compute.sum(lengths.take(array.indices)).as_py() or 0)
    lengths = _lengths(array) if _are_views(array.type) else None
    return int(array.nbytes) + (0 if lengths is None else int(pa.compute.sum(lengths).as_py() or 0))


def _are_views(kind: Any) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _lengths(array: Any) -> Any:
    """The stated bytes of each text; None for other values."""
    if _are_views(array.type):
        # A view is four numbers of 32 bits, of which the first is the length. Many may show one text.
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)[array.offset : array.offset + len(array)]
        return pa.array(views[:, 0].astype(np.int64))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pa.compute.binary_length(array)
    return None


def holds_images(kind: Any) -> bool:
    """Whether values of this Arrow type can be image files."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and holds_images(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def may_hold_images(kind: Any) -> bool:
    """Whether values of this Arrow type can be image files or lists of them."""
    return holds_images(kind.value_type if holds_lists(kind) else kind)


def holds_lists(kind: Any) -> bool:
    """Whether values of this Arrow type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def holds_vectors(kind: Any) -> bool:
    """Whether values of this Arrow type can be embeddings."""
    return holds_lists(kind) and bool(pa.types.is_floating(kind.value_type))


def holds_labels(kind: Any) -> bool:
    """Whether values of this Arrow type can be labels: numbers, text, or categories of them."""
    if pa.types.is_dictionary(kind):
        return holds_labels(kind.value_type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _class_names(schema: Any, name: str) -> list[str]:
    """The names of a Hugging Face ClassLabel; empty when the column is none."""
    try:
        text = (schema.metadata or {}).get(b"huggingface", b"{}")
        if len(text) > MAX_FEATURES_BYTES:
            return []
        features = json.loads(text)["info"]["features"]
        names = features[name]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []
