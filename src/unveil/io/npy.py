"""NumPy's `.npy` and `.npz` formats for untrusted files: nothing is unpickled, and no header decides an allocation."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.io.regular import check_stored, open_regular

MAGIC = b"\x93NUMPY"
# NumPy itself reads headers of at most 10,000 bytes.
MAX_HEADER = 2**16
MAX_CODE_POINT = 0x10FFFF
# Of an array of texts: 17 million of 60 characters.
MAX_TEXT_BYTES = 2**32
# Rows that are read at once.
BLOCK = 16_384


def parse_npy(data: bytes | bytearray | memoryview, *, allow_empty: bool = False) -> npt.NDArray[Any]:
    """The array in the bytes of a `.npy` file, read-only if ``data`` are.

    Raises ValueError when the bytes do not fit the header, and for an array without values unless ``allow_empty``.
    """
    shape, fortran, dtype, start = npy_header(data)
    left = len(data) - start
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"shape {shape} of {dtype} for {left} bytes")
    if not left and not allow_empty:
        raise ValueError(f"shape {shape} of {dtype} holds no values")
    if not left:
        return np.zeros(shape, dtype)
    if dtype.names is None and dtype.base.kind == "U":
        _check_text(data, start, dtype.base)
    elif any(field[0].base.kind in "UV" for field in (dtype.fields or {}).values()):
        raise ValueError(f"text in a record of {dtype}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def npy_header(data: bytes | bytearray | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """The shape, the order (true for Fortran's), the type and the first byte of the array in a `.npy` file.

    ``data`` are its first bytes. Raises ValueError when they are none of such a file.
    """
    file = io.BytesIO(bytes(memoryview(data)[:MAX_HEADER]))
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as error:  # NumPy parses the header as Python, which raises almost anything
        raise ValueError(f"no header of an array ({type(error).__name__}: {error})") from None
    return shape, fortran, dtype, file.tell()


def text_array(texts: Sequence[str]) -> npt.NDArray[np.str_]:
    """Texts as an array (N,), in which each takes the space of the longest.

    Raises ValueError if that is more than MAX_TEXT_BYTES.
    """
    size = 4 * len(texts) * max(map(len, texts), default=0)
    if size > MAX_TEXT_BYTES:
        raise ValueError(
            f"expected texts that take at most {MAX_TEXT_BYTES:,} bytes, each padded to the longest, found {size:,}. "
            "Shorten the longest"
        )
    return np.array(texts, np.str_)


def _check_text(data: bytes | bytearray | memoryview, at: int, dtype: np.dtype[Any]) -> None:
    """ValueError for a character beyond Unicode, of which Python makes text that breaks later."""
    points = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder), offset=at)
    if len(points) and points.max() > MAX_CODE_POINT:
        raise ValueError(f"text with the character {points.max():#x}")


def mapped_array(path: Path, kind: type[Any], dimensions: int, *, finite: bool = True) -> npt.NDArray[Any]:
    """The array in a `.npy` file, memory-mapped.

    Raises ValueError for one of another type or number of dimensions, and, if ``finite``, for floats that are not.
    """
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != kind or array.ndim != dimensions:
        raise ValueError(f"{path.name} holds {array.ndim} dimensions of {array.dtype}")
    blocks = (array[start : start + BLOCK] for start in range(0, len(array), BLOCK))
    if finite and array.dtype.kind == "f" and not all(np.isfinite(block).all() for block in blocks):
        raise ValueError(f"{path.name} holds values that are not finite")
    return array


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays in a `.npz` file that NumPy wrote without compression, by name; their checksums are checked.

    Raises OSError, also for what is no regular file, and ValueError for a file that is damaged or states more bytes
    than it has.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            status = os.fstat(file.fileno())
            check_stored(status, path)
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > status.st_size:
                raise ValueError("arrays without compression were expected")
            arrays = {}
            for member in members:
                # Writable, so that the array is.
                data = bytearray(archive.read(member))
                arrays[member.filename.removesuffix(".npy")] = parse_npy(data, allow_empty=True)
            return arrays
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
        raise ValueError(f"no file of arrays ({error})") from None
