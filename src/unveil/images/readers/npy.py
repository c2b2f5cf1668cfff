"""NumPy's `.npy` format for untrusted files: nothing is unpickled, and no header decides an allocation."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"\x93NUMPY"


def parse_npy(data: bytes) -> npt.NDArray[Any]:
    """The array in the bytes of a `.npy` file, read-only; ValueError when the bytes do not fit the header."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as error:  # NumPy parses the header as Python, which raises almost anything
        raise ValueError(f"no header of an array ({type(error).__name__}: {error})") from None
    left = len(data) - file.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left or not left:
        raise ValueError(f"shape {shape} of {dtype} for {left} bytes")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
