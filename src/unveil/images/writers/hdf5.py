"""An HDF5 file, written without some of its images."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images.readers import hdf5 as reader
from unveil.images.writers.base import library

# Unpacked bytes that are written at once.
MAX_BLOCK = 2**28
MAX_USER_BLOCK = 2**24
# What h5py raises for names, types and values that it does not write.
REFUSALS = (ValueError, TypeError, RuntimeError, KeyError)


def write_hdf5(source: reader.HDF5Source, out: Path, removed: Collection[str]) -> None:
    """The datasets without the rows of the removed images, chunked and compressed as they were, with their attributes.

    Datasets with other rows are copied whole: those of other splits, or the names of classes. Raises SettingError for a
    dataset or attribute of a type that is not written, such as a reference.
    """
    h5py = library("h5py", source.kind)
    blob = source.blob
    file = reader.open_file(blob)
    contents = reader.contents_of(blob)
    tables = contents.tables
    if contents.refused:
        refused, why = next(iter(contents.refused.items()))
        raise SettingError(f"{source.where}: {refused or 'the file'} is {why}; use --as-folder")
    if sum(table.stored_bytes for table in tables.values()) > blob.size:
        raise SourceError(f"{source.where}: its datasets share bytes, which a copy would repeat; use --as-folder")
    images = tables[source.image_name]
    rows = [row for r in source.records if r.id not in removed and _can_be_read(images, row := int(r.key))]
    follow = _tables_of_rows(source, tables)
    path = out / blob.name
    # The library ends the process where a disk fills while a file is open.
    part = len(rows) / max(1, len(images))
    needed = sum(table.stored_bytes * (part if name in follow else 1) for name, table in tables.items())
    if needed > shutil.disk_usage(out).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with h5py.File(path, "w", userblock_size=int(file.userblock_size)) as new:
        left = blob.size
        for name, table in tables.items():
            chosen = rows if name in follow else range(len(table) if table.shape else 1)
            try:
                left = _write_table(h5py, new, name, table, chosen, left)
            except (ImageError, *REFUSALS) as error:
                raise _not_written(source, f"the dataset {name}", error) from None
        for name, item in contents.items:
            _write_attributes(source, new, name or "/", item)
    if file.userblock_size:
        block = blob.read_exactly(0, int(file.userblock_size), MAX_USER_BLOCK)
        with path.open("r+b") as written:
            written.write(block)


def _can_be_read(images: reader.Table, row: int) -> bool:
    try:
        images.stored(row)
    except ImageError:
        return False
    return True


def _tables_of_rows(source: reader.HDF5Source, tables: dict[str, reader.Table]) -> set[str]:
    """The datasets that have a row for each image. Where a file holds several sets of images, they lie beside them."""
    n = len(tables[source.image_name])
    same = {name for name, table in tables.items() if table.shape[:1] == (n,)}
    if sum(table.holds_images for table in tables.values()) > 1:
        folder = source.image_name.rpartition("/")[0]
        same = {name for name in same if name.rpartition("/")[0] == folder or name == source.people_name}
    return same


def _write_table(h5py: Any, new: Any, name: str, table: reader.Table, rows: Sequence[int], left: int) -> int:
    """Writes some rows of a dataset; how many bytes of variable length may follow in the file."""
    shape = (len(rows), *table.shape[1:]) if table.shape else ()
    chunks = table.layout.chunk_shape
    chunked = chunks is not None and len(chunks) == len(shape) and min(shape, default=0) > 0
    filters = table.layout.filters if chunked else ()
    dataset = new.create_dataset(
        name,
        shape,
        _type(h5py, table),
        chunks=tuple(min(c, n) for c, n in zip(chunks or (), shape, strict=True)) if chunked else None,
        compression="gzip" if reader.DEFLATE in filters else None,
        shuffle=reader.SHUFFLE in filters,
        fletcher32=reader.FLETCHER in filters,
    )
    if not shape:
        dataset[()] = table.stored(0) if table.text else np.frombuffer(table.stored(0), table.dtype)[0]
        return left
    if table.variable or table.text:
        for at, row in enumerate(rows):
            value = table.stored(row)
            left -= len(value)
            if left < 0:
                raise ValueError("its values share bytes, which a copy would repeat")
            dataset[at] = value if table.text else np.frombuffer(value, np.uint8)
        return left
    size = math.prod(shape[1:]) * table.dtype.itemsize
    step = min(chunks[0] if chunks else MAX_BLOCK, max(1, MAX_BLOCK // max(1, size)))
    for at in range(0, len(rows), step):
        some = [table.stored(row) for row in rows[at : at + step]]
        dataset[at : at + len(some)] = np.frombuffer(b"".join(some), table.dtype).reshape(len(some), *shape[1:])
    return left


def _type(h5py: Any, table: reader.Table) -> Any:
    """The type of a dataset as h5py states it; TypeError when it is none that is written."""
    kind = type(table.type).__name__
    if table.variable and table.type.base_dtype.dtype == np.uint8:
        return h5py.vlen_dtype(np.uint8)
    if table.text:
        return h5py.string_dtype("utf-8" if table.type.character_set else "ascii")
    if kind == "P5FixedStringType":
        return h5py.string_dtype("utf-8" if table.type.character_set else "ascii", table.type.fixed_size)
    if kind == "P5EnumType":
        return h5py.enum_dtype({str(k): int(v) for k, v in table.type.mapping.items()}, table.type.base_dtype)
    if kind in ("P5IntegerType", "P5FloatType") or (kind == "P5CompoundType" and table.type.is_atomic):
        return table.dtype
    raise TypeError(f"values of type {kind.removeprefix('P5').removesuffix('Type')}")


def _write_attributes(source: reader.HDF5Source, new: Any, name: str, item: Any) -> None:
    try:
        target = new[name] if name in new else new.create_group(name)
        for attribute, value in dict(item.attrs).items():
            target.attrs[attribute] = value
    except REFUSALS as error:
        raise _not_written(source, f"an attribute of {name}", error) from None


def _not_written(source: reader.HDF5Source, what: str, error: Exception) -> SettingError:
    return SettingError(f"{source.where}: {what} is not written ({error}); use --as-folder")
