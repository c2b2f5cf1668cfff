"""Loads the compiled kernel and calls it. Structures mirror src/unveil.h; version and size are checked on loading."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_uint8, c_void_p
from dataclasses import dataclass
from pathlib import Path

VERSION = 3
MAX_STAGES = 4
MAX_RANKINGS = 2
FLOAT32, FLOAT16 = 0, 1
STATUS = ("done", "too many pairs", "no memory")
HERE = Path(__file__).parent
FILE_NAME = "libunveil.so"


class NativeVectors(ctypes.Structure):
    """Stored unit vectors: address, rows, dimensions, bytes from row to row, FLOAT32 or FLOAT16."""

    _fields_ = (("data", c_void_p), ("n", c_int64), ("dims", c_int64), ("stride", c_int64), ("type", c_int32))


class NativePacked(ctypes.Structure):
    """Quantised rows in strips, with the terms of the error bound for each row."""

    _fields_ = (
        ("bytes", c_void_p),
        ("scale", c_void_p),
        ("error", c_void_p),
        ("norm", c_void_p),
        ("rest", c_void_p),
        ("sum", c_void_p),
        ("padded", c_int64),
        ("width", c_int32),
        ("steps", c_int32),
        ("bias", c_int32),
        ("levels", c_int32),
    )


class NativeRanking(ctypes.Structure):
    """A score, by its offsets, and the pairs that are best by it; the last fields change during a job."""

    _fields_ = (
        ("query_offset", c_void_p),
        ("gallery_offset", c_void_p),
        ("slack", c_float),
        ("floor", c_float),
        ("top_k", c_int64),
        ("top_score", c_void_p),
        ("top_row", c_void_p),
        ("top_floor", c_void_p),
        ("top_lock", c_void_p),
        ("best_score", c_void_p),
        ("best_query", c_void_p),
        ("n_overall", c_int64),
        ("overall_score", c_void_p),
        ("overall_query", c_void_p),
        ("overall_row", c_void_p),
        ("overall_floor", c_float),
        ("lock", c_uint8),
    )


class NativeJob(ctypes.Structure):
    """One panel of queries against one slab of the gallery; the last fields change while threads process it."""

    _fields_ = (
        ("kernel", c_int32),
        ("query", NativeVectors),
        ("gallery", NativeVectors),
        ("a", NativePacked),
        ("b", NativePacked),
        ("first_query", c_int64),
        ("first_row", c_int64),
        ("stages", c_int32),
        ("stage_end", c_int32 * MAX_STAGES),
        ("n_rankings", c_int32),
        ("rankings", NativeRanking * MAX_RANKINGS),
        ("collect", c_int32),
        ("threshold", c_double),
        ("max_pairs", c_int64),
        ("found", c_void_p),
        ("n_levels", c_int64),
        ("levels", c_void_p),
        ("counts", c_void_p),
        ("lock", c_uint8),
        ("stop", c_int32),
        ("status", c_int32),
        ("next_strip", c_int64),
        ("strips_done", c_int64),
        ("n_found", c_int64),
        ("n_scored", c_int64),
    )


class _Facts(ctypes.Structure):
    _fields_ = tuple((name, c_int32) for name in ("height", "width", "bias", "levels", "available"))


@dataclass(frozen=True)
class Kernel:
    """A kernel of the library: the shape of its tile, how it stores gallery rows, and whether it runs here."""

    index: int
    name: str
    height: int
    width: int
    bias: int
    levels: int
    available: bool


class Library:
    """The compiled library. Raises OSError for a file that is not the library of this version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._c = ctypes.CDLL(str(path))
        try:
            built = (self._c.unveil_version(), self._size())
        except AttributeError:
            raise OSError(f"{path} is not unveil's kernel") from None
        if built != (VERSION, ctypes.sizeof(NativeJob)):
            raise OSError(f"{path} was built for another version of unveil; install unveil again")
        self._c.unveil_kernel.restype = c_char_p
        self._c.unveil_quantise.argtypes = (
            *(c_int32, POINTER(NativeVectors), c_int64, POINTER(NativePacked)),
            *(c_int64, c_int64, c_int32, POINTER(c_int32), c_void_p),
        )
        self._c.unveil_moments.argtypes = (c_int32, POINTER(NativeVectors), c_void_p, c_void_p)
        self._c.unveil_work.argtypes = (POINTER(NativeJob),)
        self._c.unveil_take_pairs.argtypes = (POINTER(NativeJob), c_void_p, c_void_p, c_void_p)
        self._c.unveil_take_pairs.restype = None
        self._c.unveil_cosines.argtypes = (
            *(c_int32, POINTER(NativeVectors), POINTER(NativeVectors), c_int64),
            *(c_void_p, c_void_p, c_void_p),
        )
        self._c.unveil_cosines.restype = None
        self.kernels = self._list_kernels()

    def _size(self) -> int:
        self._c.unveil_job_size.restype = c_int64
        return int(self._c.unveil_job_size())

    def _list_kernels(self) -> tuple[Kernel, ...]:
        found: list[Kernel] = []
        facts = _Facts()
        while name := self._c.unveil_kernel(c_int32(len(found)), byref(facts)):
            shape = (facts.height, facts.width, facts.bias, facts.levels)
            found.append(Kernel(len(found), name.decode(), *shape, bool(facts.available)))
        return tuple(found)

    @property
    def best(self) -> Kernel:
        """The fastest kernel that runs on this processor."""
        return next(kernel for kernel in self.kernels if kernel.available)

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name. Raises KeyError when there is none."""
        return {kernel.name: kernel for kernel in self.kernels}[name]

    def quantise(
        self,
        kernel: Kernel,
        rows: NativeVectors,
        first_row: int,
        out: NativePacked,
        strips: range,
        stage_end: tuple[int, ...],
        basis: int | None,
    ) -> int:
        """Fills ``strips`` of ``out`` from ``rows``, whose first is row ``first_row`` of ``out``; returns a status.

        ``basis`` is the address of a float32 matrix (D, D) by which rows are multiplied before.
        """
        ends = (c_int32 * max(1, len(stage_end)))(*stage_end)
        arguments = (byref(rows), first_row, byref(out), strips.start, strips.stop, len(stage_end), ends, basis)
        return int(self._c.unveil_quantise(kernel.index, *arguments))

    def moments(self, kernel: Kernel, rows: NativeVectors, total: int, products: int) -> int:
        """The sum of rows (D,) and of the products of their columns (D, D), at two addresses; returns a status."""
        return int(self._c.unveil_moments(kernel.index, byref(rows), total, products))

    def work(self, job: NativeJob) -> int:
        """Processes a job together with other threads until done or stopped; returns a status. Releases the GIL."""
        return int(self._c.unveil_work(byref(job)))

    def take_pairs(self, job: NativeJob, query: int, row: int, score: int) -> None:
        """Moves the collected pairs into arrays of ``job.n_found``, passed as addresses; address 0 only frees them."""
        self._c.unveil_take_pairs(byref(job), query, row, score)

    def cosines(
        self, kernel: Kernel, a: NativeVectors, b: NativeVectors, n: int, a_row: int, b_row: int, out: int
    ) -> None:
        """Exact cosines of ``n`` pairs of rows; indexes and output are passed as addresses."""
        self._c.unveil_cosines(kernel.index, byref(a), byref(b), n, a_row, b_row, out)


@functools.cache
def load() -> tuple[Library | None, str]:
    """The library and a description of it, or None and the reason."""
    path = HERE / FILE_NAME
    if not path.exists():
        return None, "not compiled when unveil was installed (no C compiler, or an error); pip install -v shows which"
    try:
        library = Library(path)
    except OSError as error:
        return None, str(error)
    if library.best.name == "scalar":
        fast = [k.name for k in library.kernels if k.name != "scalar"]
        return None, f"this processor supports none of {', '.join(fast)}"
    others = [k.name for k in library.kernels if k.available and k.name not in (library.best.name, "scalar")]
    also = f", which also supports {', '.join(others)}" if others else ""
    return library, f"compiled; {library.best.name} is the fastest kernel for this processor{also}"
