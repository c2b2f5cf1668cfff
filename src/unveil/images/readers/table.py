"""What Parquet and Arrow tables share: columns of images and labels, in groups of rows."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.image_like import MAX_TEXT, MAX_VECTOR, MIN_PIXELS, most_looked_at, shows_image
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import NO_LABEL, check_exact, labels_of
from unveil.images.labels import labels_beside
from unveil.images.lru import LruCache
from unveil.images.readers.columns import IMAGE_COLUMNS, LABEL_NAMES, choose_column, notes_of_unused
from unveil.images.readers.parts import Part, named, notes_of_unread
from unveil.images.readers.table_values import (
    MAX_DEPTH,
    has_room,
    is_list,
    is_text,
    may_hold_images,
    numbers_in,
    value_bytes,
)
from unveil.images.source import MAX_FILE_BYTES, Entry, Source, check_row_count, numbered_ids, printable, read_inside
from unveil.images.unread import CUT_OFF, shortened
from unveil.types import ImageRecord

# A group of rows is unpacked as a whole; writers put some hundred images into one.
MAX_GROUP = 2**30
# JSON takes twenty times its size in memory; the names of a million classes fit.
MAX_FEATURES_BYTES = 2**24
CACHED_GROUPS = 3
# Groups of further columns that are looked at: a file of a stranger may have hundreds of columns in many tiny groups.
MAX_PIECES = 200_000
# Metadata that `datasets`, pandas and Arrow write, of any length.
KNOWN_METADATA = (b"huggingface", b"pandas", b"ARROW:schema")


class Table(ABC):
    """A table whose rows are stored in groups."""

    schema: pa.Schema
    groups: list[int]  # rows of each group
    sizes: list[int]  # unpacked bytes of each group, as far as the file states them
    most: int  # bytes that a column may take in all groups together
    may_be_cut = False  # whether the mark at its end is not there

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

    def pieces(self, name: str, field: str | None = None) -> Iterator[Any]:
        """All values of a column or field, as Arrow arrays with checked offsets, of some mebibytes where they are
        unpacked."""
        for group in range(len(self.groups)):
            yield self.column(group, name, field)

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
            if self._table.may_be_cut:
                self.unread.add(CUT_OFF, blob.name)
            schema = self._table.schema
            images = [f.name for f in schema if holds_images(f.type)]
            what = f"{blob.where}: the column of images"
            if not images:
                columns = named([Part(f.name, str(f.type), False) for f in schema])
                raise SourceError(
                    f"{blob.where}: expected a column of bytes, or of structs with `bytes`, found {columns}. Write the "
                    "images into such a column"
                )
            self._image = choose_column(images, options.get("image"), IMAGE_COLUMNS, what, "image")
            usable = [f.name for f in schema if holds_labels(f.type)]
            label = choose_column(
                usable, options.get("label"), LABEL_NAMES, f"{blob.where}: the labels", "label", needed=False
            )
            self.people_name = label
            parts = unread_parts(self._table, blob.size, self._image, (label,), images)
            self.notes += notes_of_unread(what, self._image, parts, chosen="image" in options)
            self.notes += notes_of_unused([f.name for f in schema if f.name != self._image], usable, label)
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
        if data is None and isinstance(path, str) and self._folder is not None:
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
        # Names that are alike in how letters are written, or but for blanks, are labels of one person.
        shown = [name if label is None else label for name, label in zip(classes, labels_of(classes), strict=True)]
        if len(set(shown)) < len(classes):
            twice = Counter(shown).most_common(1)[0][0]
            raise SourceError(
                f"{self.where}: expected another name for each class of {name}, found `{shortened(printable(twice))}` "
                "several times. Name the classes apart, or store text"
            )
        self.class_names = tuple(classes)

        def values() -> Iterator[object]:
            for array in self._table.groups_of(name):
                if pa.types.is_floating(array.type):
                    check_exact(array.to_numpy(zero_copy_only=False))
                for value in array.to_pylist():
                    is_class = classes and isinstance(value, int) and value != NO_LABEL
                    if is_class and not 0 <= value < len(classes):
                        raise SourceError(
                            f"{self.where}: expected classes from 0 to {len(classes) - 1} in {name}, which has as many "
                            f"names, found {value}. Name all classes, or store text"
                        )
                    yield classes[value] if is_class else value

        return labels_of(values())


def unread_parts(
    table: Table, size: int, used: str, named: Collection[str | None], options: Collection[str]
) -> list[Part]:
    """What a table holds beside the column ``used``, in a file of ``size`` bytes: other columns, fields and metadata.

    Columns in ``named`` are read as labels and the like; they are parts only where they may be images. ``options`` are
    the columns that could be read in place of ``used``. All values are looked at, however many rows come first.
    """
    budget = _Budget(table, size)
    parts = []
    for field in table.schema:
        fields = [None]
        if field.name == used:
            fields = [f.name for f in field.type if f.name != "bytes"] if pa.types.is_struct(field.type) else []
        for inner in fields:
            name = field.name if inner is None else f"{field.name}.{inner}"
            kind = field.type if inner is None else field.type.field(inner).type
            images = budget.may_hold_images(field.name, inner, kind)
            if images or not (field.name in named or inner == "path"):
                parts.append(Part(name, str(kind), images, option=inner is None and field.name in options))
    counts = [numbers_in(field.type) for field in table.schema]
    whole, floats = sum(n for n, _ in counts), sum(n for _, n in counts)
    if whole >= MIN_PIXELS or floats > MAX_VECTOR:
        parts.append(Part(f"{whole + floats} columns of numbers", "together", True))
    return parts + [part for field in table.schema for part in _metadata(field)] + _metadata(table.schema)


def _metadata(of: Any, depth: int = 0) -> list[Part]:
    """The metadata of a table or column, and of the fields in it, that may be images or are longer than others."""
    parts = [
        Part(f"the metadata {key.decode('utf-8', 'replace')}", f"{len(value)} bytes", image)
        for key, value in (of.metadata or {}).items()
        if (image := shows_image(value)) or (len(value) > MAX_TEXT and key not in KNOWN_METADATA)
    ]
    kind = of.type if isinstance(of, pa.Field) else None
    if kind is not None and depth < MAX_DEPTH:
        parts += [part for k in range(kind.num_fields) for part in _metadata(kind.field(k), depth + 1)]
    return parts


class _Budget:
    """The columns of a table in a file of ``size`` bytes, looked at as long as they take no more than other sets."""

    def __init__(self, table: Table, size: int) -> None:
        self._table, self._bytes, self._pieces = table, most_looked_at(size), MAX_PIECES

    def may_hold_images(self, name: str, field: str | None, kind: Any) -> bool:
        """Whether a column or field may hold images; True where it cannot be read, or takes too much."""
        if not has_room(kind):
            return False
        try:
            for array in self._table.pieces(name, field):
                self._bytes -= value_bytes(array)
                self._pieces -= 1
                if self._bytes < 0 or self._pieces < 0 or may_hold_images(array):
                    return True
        except Exception:  # a damaged file raises almost anything
            return True
        return False


def holds_images(kind: Any) -> bool:
    """Whether values of this Arrow type can be image files."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and holds_images(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def holds_vectors(kind: Any) -> bool:
    """Whether values of this Arrow type can be embeddings."""
    return is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def holds_labels(kind: Any) -> bool:
    """Whether values of this Arrow type can be labels: numbers, text, or categories of them."""
    if pa.types.is_dictionary(kind):
        return holds_labels(kind.value_type)
    return bool(is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


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
