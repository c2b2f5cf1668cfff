"""Large NumPy arrays in files without a name, by a memory handler of the compiled library (NEP 49)."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import tempfile
from ctypes import POINTER, c_char_p, c_int64, c_void_p, py_object
from typing import Any

from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

from unveil.native import library

# PyDataMem_SetHandler in the table of NumPy's C API (numpy/__multiarray_api.h), which is stable.
SET_HANDLER = 304


def arrays_in_files(least: int) -> bool:
    """From now on, new NumPy arrays of ``least`` bytes or more lie in mapped files of the folder of temporary files.

    This holds in the context of the caller (`contextvars`), so not in other threads. Files have no name, and take at
    most half of the space that is free now; beyond that, memory is ordinary. So it is where the library is not
    compiled, and on systems other than Linux: then False.
    """
    functions = _functions()
    if functions is None:
        return False
    make_handler, set_handler = functions
    folder = tempfile.gettempdir()
    pattern = os.path.join(folder, ".unveil-array-XXXXXX")  # noqa: PTH118 (bytes of any encoding follow)
    handler = make_handler(os.fsencode(pattern), least, shutil.disk_usage(folder).free // 2)
    if not handler:
        return False
    set_handler(_capsule(handler))
    return True


def arrays_in_memory() -> None:
    """Ends `arrays_in_files`: new arrays of this context lie in memory, as NumPy places them."""
    if _functions() is not None:
        ctypes.PYFUNCTYPE(py_object, c_void_p)(_table()[SET_HANDLER])(None)


def bytes_in_files() -> int:
    """The bytes of all arrays that lie in files now."""
    loaded = _load()
    return 0 if loaded is None else int(loaded.unveil_array_bytes())


@functools.cache
def _load() -> Any:
    """The compiled library, None where there is none with these functions."""
    try:
        loaded = ctypes.CDLL(str(library.HERE / library.FILE_NAME))
        loaded.unveil_array_handler.argtypes = (c_char_p, c_int64, c_int64)
        loaded.unveil_array_handler.restype = c_void_p
        loaded.unveil_array_bytes.restype = c_int64
    except (OSError, AttributeError):
        return None
    return loaded


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """The function that makes the handler, and the one of NumPy that sets it."""
    loaded = _load()
    if loaded is None or os.name != "posix":
        return None
    return loaded.unveil_array_handler, ctypes.PYFUNCTYPE(py_object, py_object)(_table()[SET_HANDLER])


def _table() -> Any:
    """The addresses of the functions of NumPy's C API."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (py_object, c_char_p), c_void_p
    return ctypes.cast(pointer(_multiarray_umath._ARRAY_API, None), POINTER(c_void_p))


def _capsule(handler: int) -> Any:
    make = ctypes.pythonapi.PyCapsule_New
    make.argtypes, make.restype = (c_void_p, c_char_p, c_void_p), py_object
    return make(handler, b"mem_handler", None)
