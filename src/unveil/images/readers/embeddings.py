"""Embeddings alone (`.npy`, `.npz`, Parquet), for images that are no longer available or must not be shared."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unveil.columns import BLOCK, Labels, Texts
from unveil.errors import DiskFullError, ImageError, SourceError
from unveil.images.blob import Blob, LocalBlob
from unveil.images.content import HEAD, is_pixels
from unveil.images.image_like import may_be_pixels
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import check_exact, labels_of
from unveil.images.labels import labels_beside
from unveil.images.readers.columns import CLASS_NAMES, choose_column
from unveil.images.readers.parquet import ParquetTable
from unveil.images.readers.parts import notes_of_unread
from unveil.images.readers.table import holds_vectors, unread_parts
from unveil.images.source import (
    MAX_ID_CHARACTERS,
    RowKeys,
    Source,
    check_row_count,
    numbered_texts,
    printable,
)
from unveil.images.unread import Unread
from unveil.images.zip_gaps import check_accounted
from unveil.io.mapping import IN_MEMORY, crc32_of, map_file, unpack_blocks
from unveil.io.npy import MAGIC, MAX_HEADER, npy_header, parse_npy
from unveil.io.regular import check_stored
from unveil.types import ImageRecord, Vectors

# Unpacked bytes of one array in a `.npz`.
MAX_ARRAY = 2**36
MAX_DIMENSION = 65_536
# Bytes of one text of an array, which takes four bytes for each character.
MAX_TEXT_ITEM = 4 * MAX_ID_CHARACTERS
# The header of a member of a zip: signature, and the lengths of the name and of the extra field that follow it.
LOCAL_HEADER = struct.Struct("<4s22xHH")
CHUNK = 1 << 20
# A compressed `.npz` of floats shrinks by no more than this.
MAX_COMPRESSION = 64
VECTOR_NAMES = ("vectors", "embeddings", "embedding", "features", "feature", "x")
ID_NAMES = ("ids", "paths", "path", "names", "files", "filenames", "id", "name")
MODEL_NAMES = ("model_id", "model")
# Characters of a reason that are read.
MAX_REASON = 512
# Why images have no vector, in files of `unveil embed`: a text for each of the last rows.
REASONS = "reasons"


@dataclass(frozen=True)
class _Loaded:
    vectors: npt.NDArray[Any]
    labels: Any = None  # an array of NumPy or of Arrow
    ids: Any = None
    model: str | None = None
    model_name: str | None = None
    reasons: Any = None
    notes: tuple[str, ...] = ()


class EmbeddingSource(Source):
    """Vectors (N, D) instead of images. ``model`` identifies the model that made them, where that is known, and
    ``model_name`` is its name. ``reasons`` says why a row holds no vector, where the file does."""

    kind = "embeddings"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        options = options or {}
        try:
            found = _load(blob, options, self.unread)
        except (SourceError, DiskFullError):
            raise
        except ImageError as error:
            raise SourceError(f"{blob.where}: {error}") from None
        except Exception as error:  # a damaged file raises almost anything
            raise SourceError(f"{blob.where}: damaged embeddings ({type(error).__name__}: {error})") from None
        vectors = found.vectors
        if vectors.ndim != 2 or vectors.dtype.kind != "f" or not 0 < vectors.shape[1] <= MAX_DIMENSION:
            raise SourceError(
                f"{blob.where}: vectors (N, D) of floats were expected, got {vectors.shape} {vectors.dtype}"
            )
        for name, column in (("labels", found.labels), ("ids", found.ids)):
            if column is not None and len(column) != len(vectors):
                raise SourceError(f"{blob.where}: {len(vectors)} vectors, {len(column)} {name}")
            if getattr(column, "ndim", 1) > 2:
                raise SourceError(f"{blob.where}: {name} (N,) were expected, got {column.shape} {column.dtype}")
        self.vectors: Vectors = vectors
        self.notes += found.notes
        reasons = [] if found.reasons is None else found.reasons.tolist()
        self.reasons = {row: printable(reason) for row, reason in enumerate(reasons, len(vectors) - len(reasons))}
        self.model = options.get("model", found.model)
        self.model_name = options.get("model", found.model_name or found.model)
        names = numbered_texts(len(vectors))
        if found.ids is not None:
            # Lists of images have no empty lines, so an empty id could not be left out by one.
            shown = (
                [printable(str(id)) or number for id, number in zip(block, numbers, strict=True)]
                for block, numbers in zip(_blocks(found.ids), names.blocks(BLOCK), strict=True)
            )
            names = Texts.joined(Texts(block) for block in shown)
        labels = None
        if found.labels is not None:
            labels = _own_labels(found.labels) if found.reasons is not None else _labels(found.labels)
        self._set_columns(names, labels, RowKeys(range(len(names))), listed=labels_beside(rule, blob))

    def read(self, record: ImageRecord) -> bytes:
        raise ImageError("read", "no image", "the source holds embeddings alone")


def _blocks(values: Any) -> Iterator[list[object]]:
    """Some thousand values of an array of NumPy or of Arrow at a time, as Python objects."""
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        yield block.to_pylist() if isinstance(block, pa.ChunkedArray) else block.tolist()


def _own_labels(values: Any) -> Labels:
    """The labels of a file of `unveil embed`, as they are: of a folder, None or -1 are names."""
    return Labels.joined(Labels.of(printable(str(text)) or None for text in block) for block in _blocks(values))


def _labels(values: Any) -> Labels:
    """The labels of an array of NumPy or of Arrow; of numbers, each once."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu":
        distinct, codes = np.unique(values, return_inverse=True)
        of_distinct = Labels.of(labels_of(distinct.tolist()))
        return Labels(of_distinct.names, of_distinct.codes[codes])
    if isinstance(values, np.ndarray):
        check_exact(values)
    elif pa.types.is_floating(values.type):
        for chunk in values.chunks:
            check_exact(chunk.to_numpy(zero_copy_only=False))
    return Labels.joined(Labels.of(labels_of(block)) for block in _blocks(values))


def _load(blob: Blob, options: dict[str, str], unread: Unread) -> _Loaded:
    head = blob.read(0, 8)
    if head.startswith(MAGIC):
        stem = blob.name.rpartition(".")[0]
        labels = blob.sibling(f"{stem}.labels.npy") or blob.sibling(f"{stem}_labels.npy")
        return _Loaded(_npy(blob), None if labels is None else np.atleast_1d(parse_npy(_all_of(labels))))
    if head.startswith(b"PAR1"):
        return _parquet(blob, options)
    if head.startswith(b"PK"):
        return _npz(blob, options, unread)
    raise SourceError(f"{blob.where}: .npy, .npz or Parquet was expected; the file begins with {head!r}")


def _all_of(blob: Blob) -> bytes | memoryview:
    """All bytes; a large file on this machine is mapped."""
    if not isinstance(blob, LocalBlob) or not IN_MEMORY <= blob.size <= MAX_ARRAY:
        return blob.read_all(MAX_ARRAY)
    check_stored(blob.path.stat(), blob.path)
    return map_file(blob.path)


def _npy(blob: Blob) -> npt.NDArray[Any]:
    """An array, mapped where the file is on this machine; ValueError when the file is shorter than its header says."""
    if isinstance(blob, LocalBlob):
        array: npt.NDArray[Any] = np.load(blob.path, mmap_mode="r", allow_pickle=False)
        left = blob.size - npy_header(blob.read(0, MAX_HEADER))[3] - array.nbytes
        if left:
            raise ValueError(f"{left} bytes follow its array")
        return array
    return parse_npy(blob.read_all(MAX_ARRAY))


def _npz(blob: Blob, options: dict[str, str], unread: Unread) -> _Loaded:
    with zipfile.ZipFile(blob.open()) as archive:
        check_accounted(archive, blob, unread)
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        limit = min(MAX_ARRAY, MAX_COMPRESSION * blob.size + 2**20)

        def array(name: str) -> npt.NDArray[Any]:
            if archive.getinfo(f"{name}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name} is compressed by a method that NumPy does not use")
            data = _member(blob, archive, f"{name}.npy", limit)
            _, _, dtype, _ = npy_header(data)
            if dtype.base.kind in "US" and dtype.base.itemsize > MAX_TEXT_ITEM:
                raise SourceError(
                    f"{blob.where}: expected texts of at most {MAX_ID_CHARACTERS:,} characters in {name}, found "
                    f"an array of {dtype}. Shorten them"
                )
            return parse_npy(data)

        vectors = choose_column(names, options.get("vectors"), VECTOR_NAMES, f"{blob.where}: the vectors", "vectors")
        others = [n for n in names if n != vectors]
        label = choose_column(others, options.get("label"), ("people", *CLASS_NAMES), blob.where, "label", needed=False)
        ids = choose_column(others, options.get("id"), ID_NAMES, blob.where, "id", needed=False)
        model = choose_column(others, None, MODEL_NAMES, blob.where, "model", needed=False)

        model_name = "model_name" if "model_name" in others else None
        n_reasons = _n_reasons(archive) if REASONS in others else None
        reasons = None if n_reasons is None else REASONS
        read = {vectors, label, ids, model, model_name, reasons}
        _check_others(blob, archive, vectors, read, unread, chosen="vectors" in options)

        def text(name: str | None) -> str | None:
            return None if name is None else printable(str(array(name).reshape(-1)[0]))

        return _Loaded(
            array(vectors),
            None if label is None else np.atleast_1d(array(label)),
            None if ids is None or ids == label else np.atleast_1d(array(ids)),
            text(model),
            text(model_name),
            None if reasons is None else array(REASONS) if n_reasons else np.zeros(0, "U1"),
        )


def _check_others(
    blob: Blob, archive: zipfile.ZipFile, vectors: str, read: Collection[str | None], unread: Unread, *, chosen: bool
) -> None:
    """Counts the members of a `.npz` that are not ``read``.

    Raises SourceError for one that may be of images or of the vectors, unless the user has ``chosen`` the vectors.
    """
    shape = _header(archive, archive.getinfo(f"{vectors}.npy"))[0]
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in read and name != member.filename and name not in seen:
            seen.add(name)
            continue
        try:
            own, dtype = _header(archive, member)
        except ValueError:
            unread.add("members that are no arrays", printable(member.filename))
            continue
        if name in seen or (not chosen and (own == shape or is_pixels(own, dtype) or may_be_pixels(own[1:], dtype))):
            raise SourceError(
                f"{blob.where}: expected one array of vectors, found another that may hold people, {printable(name)} "
                f"{own}. Choose the vectors with vectors=NAME, or write the file without it"
            )
        unread.add("arrays", f"{printable(name)} {own}")


def _n_reasons(archive: zipfile.ZipFile) -> int | None:
    """The length of the array of reasons, None unless it holds short texts."""
    try:
        shape, dtype = _header(archive, archive.getinfo(f"{REASONS}.npy"))
    except ValueError:
        return None
    return shape[0] if len(shape) == 1 and dtype.kind == "U" and dtype.itemsize <= 4 * MAX_REASON else None


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and type of an array in a `.npz`; ValueError where it is none."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed by a method that NumPy does not use")
    with archive.open(member) as file:
        shape, _, dtype, _ = npy_header(file.read(HEAD))
    return shape, dtype


def _member(blob: Blob, archive: zipfile.ZipFile, name: str, limit: int) -> memoryview:
    """At most ``limit`` bytes of a member: mapped where they are stored as they are on this machine, else unpacked."""
    member = archive.getinfo(name)
    if isinstance(blob, LocalBlob) and member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1:
        head = blob.read(member.header_offset, LOCAL_HEADER.size)
        signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(head)
        start = member.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        if signature == b"PK\x03\x04" and start + member.file_size <= blob.size:
            data = map_file(blob.path)[start : start + member.file_size]
            if crc32_of(data) != member.CRC:
                raise ValueError(f"{name} has a wrong checksum")
            return data
    with archive.open(name) as file:
        return unpack_blocks(iter(lambda: file.read(CHUNK), b""), limit)


def _parquet(blob: Blob, options: dict[str, str]) -> _Loaded:
    table = ParquetTable(blob)
    names = table.schema.names
    lists = [f.name for f in table.schema if holds_vectors(f.type)]
    check_row_count(sum(table.groups), blob)
    vectors = choose_column(lists, options.get("vectors"), VECTOR_NAMES, f"{blob.where}: the vectors", "vectors")
    others = [n for n in names if n not in lists]
    label = choose_column(others, options.get("label"), CLASS_NAMES, blob.where, "label", needed=False)
    ids = choose_column(others, options.get("id"), ID_NAMES, blob.where, "id", needed=False)

    parts = unread_parts(table, blob.size, vectors, (label, ids), lists)
    chosen = "vectors" in options
    notes = notes_of_unread(f"{blob.where}: the column of vectors", vectors, parts, chosen=chosen, option="vectors")

    def column(name: str | None) -> Any:
        arrays = [] if name is None else list(table.groups_of(name))
        return None if name is None else pa.chunked_array(arrays) if arrays else pa.chunked_array([], pa.null())

    widths: set[int] = set()

    def blocks() -> Iterator[bytes]:
        for rows in table.groups_of(vectors):
            flat = rows.flatten().to_numpy(zero_copy_only=False)
            if len(rows) and (rows.null_count or len(flat) % len(rows)):
                raise ValueError("vectors of different lengths")
            widths.update([len(flat) // len(rows)] if len(rows) else ())
            if len(widths) > 1:
                raise ValueError("vectors of different lengths")
            yield np.ascontiguousarray(flat, np.float32).tobytes()

    stored = np.frombuffer(unpack_blocks(blocks(), MAX_ARRAY), np.float32)
    shaped = stored.reshape(-1, *widths) if widths else stored.reshape(0, 0)
    found = _Loaded(shaped, column(label), notes=tuple(notes))
    return found if ids == label else replace(found, ids=column(ids))


def is_npz(blob: Blob) -> bool:
    """Whether a zip holds arrays and nothing else."""
    try:
        with zipfile.ZipFile(blob.open()) as archive:
            names = archive.namelist()
            return bool(names) and all(n.endswith(".npy") for n in names) and archive.open(names[0]).read(6) == MAGIC
    except Exception:  # a damaged archive raises almost anything; its reader reports it
        return False
