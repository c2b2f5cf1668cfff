"""Random arrangements of few places, drawn and added up by the compiled library."""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.native import library


def add_arranged(
    sums: npt.NDArray[np.float64], similarities: npt.NDArray[np.float64], rng: np.random.Generator
) -> bool:
    """Adds to ``sums`` (M,) those of the rows of ``similarities`` (N, N), each with the place of an arrangement.

    The arrangements are M rows of ``rng.permuted``, and sums are added from the first row on, so the result is that of
    NumPy to the last bit. False where the library is not compiled or there are too many places; then nothing is drawn.
    """
    function = _function()
    if function is None:
        return False
    drawn = rng.bit_generator
    similarities = np.ascontiguousarray(similarities)
    with drawn.lock:
        next_number, state = ctypes.cast(drawn.ctypes.next_uint32, c_void_p), drawn.ctypes.state_address
        done = function(next_number, state, len(similarities), len(sums), similarities.ctypes.data, sums.ctypes.data)
    return bool(done)


@functools.cache
def _function() -> Any:
    """The function of the library, None where there is no library with it."""
    try:
        function = ctypes.CDLL(str(library.HERE / library.FILE_NAME)).unveil_add_arranged
    except (OSError, AttributeError):
        return None
    function.argtypes = (c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p)
    function.restype = c_int32
    return function
