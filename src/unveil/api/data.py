"""Arrays and data frames in place of paths: each becomes a file in the store, named by its content."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from unveil.errors import ImageError, InputError, SettingError, SourceError, VectorError
from unveil.images import pillow_rgb
from unveil.images.blob import LocalBlob
from unveil.images.label_values import check_exact, label_of
from unveil.images.readers.columns import CLASS_NAMES
from unveil.images.readers.table import holds_labels
from unveil.images.sniff import form_of
from unveil.images.source import MAX_ID_CHARACTERS, numbered_ids
from unveil.io.atomic import write_bytes
from unveil.io.checksums import file_sha256
from unveil.io.npy import text_array
from unveil.io.remote import is_address
from unveil.io.storage import LocalStorage
from unveil.io.text import printable

_SURROGATE = re.compile("[\ud800-\udfff]")
# Types of labels, and of what writers store where there is none.
LABEL_TYPES = (str, bytes, int, float, list, tuple, np.generic, np.ndarray)
# What pandas has in place of None, as text.
MISSING = ("None", "<NA>", "NaT")
# Characters of the name of a file in a message.
MAX_SHOWN = 200
# The folder of these files in a store.
FOLDER = "arrays"
EXPECTED = (
    "a path, images (N, H, W, 3) of uint8 or a list of images, embeddings (N, D) of floats, a data frame, "
    "a datasets.Dataset, unveil.Images or unveil.Embeddings"
)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of images instead of the images.

    ``vectors`` (N, D) are floats of any width, from NumPy, torch or lists; they need not be of unit length. ``labels``
    (N) are people; None is no label. ``ids`` (N) name the images. ``model`` is the name of the model that made them.
    """

    vectors: Any
    labels: Sequence[object] | None = None
    ids: Sequence[object] | None = None
    model: str | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory.

    ``pixels`` are N RGB images: an array (N, H, W, 3) of uint8, a list of arrays (H, W, 3), or a list of Pillow images.
    ``labels`` (N) are people; None is no label. ``ids`` (N) name the images.
    """

    pixels: Any
    labels: Sequence[object] | None = None
    ids: Sequence[object] | None = None


# What `unveil.audit` and `unveil.overlap` take as a set of images: a path, or any of the values that EXPECTED names.
Data = Any


def place_of(data: Data, role: str, store: str) -> str | Path:
    """The path of a set of images: as given, or of a file in ``store`` that holds the array.

    The same data give the same file, so an audit of arrays resumes like any other. Raises InputError for data of
    another kind, SettingError for a store at an address, and StoreError if its folder of arrays is a link.
    """
    if isinstance(data, (str, os.PathLike)):
        return data if isinstance(data, str) else Path(data)
    if is_address(store):
        raise SettingError(
            f"{role}: arrays are written to the store first, which should be a folder on this machine, found {store}. "
            "Set store to a folder"
        )
    content, suffix = _file(data, role)
    digest = hashlib.sha256(content).hexdigest()
    path = LocalStorage(Path(store)).path(FOLDER) / f"{digest[:32]}{suffix}"
    if not _is_file(path, digest):
        write_bytes(path, content)
    return path


def _is_file(path: Path, digest: str) -> bool:
    """Whether a file has this content. One in a store may be damaged, a link, or somebody else's."""
    try:
        return not path.is_symlink() and file_sha256(path) == digest
    except OSError:
        return False


def _file(data: Any, role: str) -> tuple[bytes, str]:
    """The content of the file that holds the data, and its suffix."""
    if isinstance(data, Embeddings):
        return _embeddings(data, role), ".npz"
    if isinstance(data, Images):
        return _images(data, role), ".parquet"
    if hasattr(data, "with_format") and hasattr(data, "num_rows"):
        return _parquet(_table_of_dataset(data, role)), ".parquet"
    if _is_frame(data):
        return _parquet(_with_label(_without_views(_arrow_of(data, role)), role)), ".parquet"
    array = None if _is_image(data[0] if isinstance(data, (list, tuple)) and data else None) else _array(data)
    if array is not None and array.ndim == 2 and array.dtype.kind == "f":
        return _embeddings(Embeddings(array), role), ".npz"
    if array is None or array.ndim == 4:
        return _images(Images(data if array is None else array), role), ".parquet"
    raise InputError(f"{role}: expected {EXPECTED}, found {_described(data)}")


def _embeddings(data: Embeddings, role: str) -> bytes:
    vectors = _array(data.vectors)
    if vectors is None or vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        raise VectorError(f"{role}: expected vectors (N, D) of floats, found {_described(data.vectors)}")
    ids, labels = _names(data.ids, data.labels, len(vectors), role)
    arrays: dict[str, npt.NDArray[Any]] = {"vectors": np.ascontiguousarray(vectors, np.float32)}
    try:
        arrays["ids"] = text_array(ids)
        if labels is not None:
            arrays["people"] = text_array([label or "" for label in labels])
    except ValueError as error:
        raise InputError(f"{role}: ids and labels: {error}") from None
    if data.model is not None:
        arrays |= {"model_id": np.array(data.model), "model_name": np.array(data.model)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _images(data: Images, role: str) -> bytes:
    pixels = data.pixels if isinstance(data.pixels, (list, tuple)) else _array(data.pixels)
    if pixels is None:
        raise InputError(f"{role}: expected images (N, H, W, 3) of uint8, found {_described(data.pixels)}")
    ids, labels = _names(data.ids, data.labels, len(pixels), role)
    paths = [id or number for id, number in zip(ids, numbered_ids(range(len(ids))), strict=True)]
    files = pa.array([_png(image, k, role) for k, image in enumerate(pixels)], pa.binary())
    columns: dict[str, Any] = {
        # The path of an image is its id, which no list can name where it is empty.
        "image": pa.StructArray.from_arrays([files, pa.array(paths, pa.string())], ["bytes", "path"]),
        # Without this column, the container would state no labels.
        "label": pa.array(labels or [None] * len(ids), pa.string()),
    }
    return _parquet(pa.table(columns))


def _png(image: Any, index: int, role: str) -> bytes:
    if isinstance(image, Image.Image):
        try:
            pixels = pillow_rgb(image)
        except ImageError as error:
            raise InputError(f"{role}: image {index} of Pillow cannot be decoded: {error}") from None
        opened = None if pixels is None else Image.fromarray(pixels)
    else:
        array = _array(image)
        is_rgb = (
            array is not None and array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8 and array.size
        )
        opened = Image.fromarray(np.ascontiguousarray(array)) if is_rgb else None
    if opened is None:
        raise InputError(
            f"{role}: expected RGB images of uint8 with shape (H, W, 3), found {_described(image)} as image {index}"
        )
    buffer = io.BytesIO()
    opened.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _names(
    ids: Sequence[object] | None, labels: Sequence[object] | None, n: int, role: str
) -> tuple[list[str], list[str | None] | None]:
    for name, given in (("labels", labels), ("ids", ids)):
        if given is None:
            continue
        length = _length(given)
        if length is None:
            raise InputError(
                f"{role}: expected a list or an array as {name}, with a value for each image, found "
                f"{type(given).__name__}. Make a list of it"
            )
        if length != n:
            raise InputError(f"{role}: expected a value in {name} for each of {n} images, found {length}")
    names = list(numbered_ids(range(n))) if ids is None else [_id_text(id, role) for id in _plain(ids)]
    return names, None if labels is None else [_label(label, role) for label in _plain(labels)]


def _plain(values: Any) -> Any:
    """Values of torch, Arrow or another library of arrays as those of Python or NumPy."""
    if isinstance(values, np.ma.MaskedArray):
        return values.tolist()
    if hasattr(values, "to_pylist"):
        return values.to_pylist()
    if hasattr(values, "detach"):
        return values.detach().cpu().numpy()
    return values


def _label(value: object, role: str) -> str | None:
    """The label in a value. Raises InputError for a value of a type that holds none, which would lose the person."""
    if isinstance(value, np.generic):
        check_exact(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()  # of an array without dimensions: torch has one for each value
    elif isinstance(value, pa.Scalar):
        value = value.as_py()
    if not isinstance(value, LABEL_TYPES) and str(value) not in MISSING:
        raise InputError(
            f"{role}: expected text, whole numbers or None as labels, found {type(value).__name__}. Make text of it"
        )
    label = label_of(value)
    if label is None and isinstance(value, (list, tuple)) and any(isinstance(one, (str, bytes)) for one in value):
        raise InputError(
            f"{role}: expected text, whole numbers or None as labels, found several values for one image "
            f"({printable(repr(value))[:MAX_SHOWN]}). Make one text of them"
        )
    return label


def _length(values: object) -> int | None:
    """The number of values in a list or an array; None for others, such as a generator, a text, a set or a table."""
    if isinstance(values, (str, bytes, Mapping, Set)) or hasattr(values, "columns"):
        return None
    try:
        return len(values)  # type: ignore[arg-type]
    except TypeError:
        return None


def _id_text(id: object, role: str) -> str:
    try:
        text = str(id)
    except ValueError:  # a number of more than 4,300 digits
        text = " " * (MAX_ID_CHARACTERS + 1)
    if len(text) > MAX_ID_CHARACTERS:
        raise InputError(
            f"{role}: expected ids of at most {MAX_ID_CHARACTERS:,} characters, found a longer one. Shorten it"
        )
    # A name of a file that is no UTF-8 is shown with escapes, as a folder of such files is.
    return text if text.isascii() or not _SURROGATE.search(text) else printable(text)


def _is_frame(data: Any) -> bool:
    return hasattr(data, "__arrow_c_stream__") or (hasattr(data, "columns") and hasattr(data, "to_numpy"))


def _table_of_dataset(data: Any, role: str) -> pa.Table:
    """A Hugging Face dataset as a table that holds its images, also those that it names by their files.

    The table states its features, so that `datasets` reads a cleaned copy of it as images.
    """
    from datasets.table import embed_table_storage

    if isinstance(data, dict):
        raise InputError(
            f"{role}: expected one datasets.Dataset, found a DatasetDict of {', '.join(map(str, data))}. Choose a split"
        )
    table = data.with_format("arrow")[:]
    for column in table.columns:
        for path in _named_files(column):
            _check_file(path, role)
    return embed_table_storage(table)


def _named_files(column: pa.ChunkedArray | pa.Array) -> Iterator[str]:
    """The paths of files in a column that `datasets` would read: those without bytes beside them."""
    if isinstance(column, pa.ChunkedArray):
        for chunk in column.chunks:
            yield from _named_files(chunk)
    elif isinstance(column, pa.ExtensionArray):
        yield from _named_files(column.storage)
    elif pa.types.is_struct(column.type):
        parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        if {"bytes", "path"} <= set(parts):
            found = parts["path"].filter(pc.is_null(parts["bytes"])).drop_null()
            yield from map(str, found.unique().to_pylist())
        else:
            for part in parts.values():
                yield from _named_files(part)
    elif (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        yield from _named_files(column.flatten())


def _check_file(path: str, role: str) -> None:
    """Raises InputError for anything but an image on this machine: a dataset of others may name any file."""
    what = "an address"
    if "://" not in path and "::" not in path:
        try:
            if form_of(LocalBlob(Path(path))) == "image":
                return
            what = "another file"
        except (SourceError, ImageError):
            what = "a file that cannot be read"
    raise InputError(
        f"{role}: expected a dataset that holds its images or names files of images on this machine, found {what}: "
        f"{printable(path[:MAX_SHOWN])}. Store the images in it, or remove the column"
    )


def _arrow_of(data: Any, role: str) -> pa.Table:
    try:
        if hasattr(data, "iloc"):
            return pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata(None)
        return pa.table(data).replace_schema_metadata(None)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{role}: expected a data frame with a column of embeddings or images, found one that Arrow cannot hold "
            f"({error})"
        ) from None


def _with_label(table: pa.Table, role: str) -> pa.Table:
    """The table with a column of labels, so that a reader does not take ids for labels.

    Raises InputError where all columns that are named like labels have values that are none: the people would be lost.
    """
    named = [field for field in table.schema if field.name.lower() in CLASS_NAMES]
    if named and not any(_may_be_labels(field.type) for field in named):
        raise InputError(
            f"{role}: expected text or whole numbers in the column {printable(named[0].name)}, found "
            f"{named[0].type}. Make text of it, or give the column another name"
        )
    if named:
        return table
    return table.append_column("label", pa.nulls(table.num_rows, pa.string()))


def _may_be_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type holds labels, or states that there are none."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists or pa.types.is_null(kind) or pa.types.is_boolean(kind) or holds_labels(kind))


def _without_views(table: pa.Table) -> pa.Table:
    """The table with plain columns in place of Arrow views, which older versions of PyArrow cannot write."""
    plain_types = {"string_view": pa.string(), "binary_view": pa.binary()}
    for k, field in enumerate(table.schema):
        values = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        kind = plain_types.get(str(values))
        if kind is not None:
            table = table.set_column(k, field.name, pa.array(table.column(k).to_pylist(), kind))
    return table


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _array(data: Any) -> npt.NDArray[Any] | None:
    """The data as an array of numbers, or None if they are none, or masked. A tensor on a GPU comes to this machine."""
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        return None
    if hasattr(data, "detach"):
        data = data.detach().cpu().numpy()
    try:
        array = np.asarray(data)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "fiub" else None


def _is_image(value: Any) -> bool:
    return isinstance(value, Image.Image) or getattr(value, "ndim", 0) == 3


def _described(data: Any) -> str:
    shape = getattr(data, "shape", None)
    if shape is not None:
        return f"{type(data).__name__} {tuple(shape)} {getattr(data, 'dtype', '')}".rstrip()
    if isinstance(data, Image.Image):
        return f"a Pillow image of mode {data.mode}; convert it to 8 bits a channel"
    return type(data).__name__
