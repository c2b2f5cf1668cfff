"""The interface of a backend, and the table of all backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from unveil.choices import BACKENDS
from unveil.compare.backend_native import describe_native, is_native_available, open_native
from unveil.compare.backend_numpy import describe_numpy, open_numpy
from unveil.compare.backend_onnxruntime import describe_onnxruntime, open_onnxruntime
from unveil.compare.backend_torch import describe_torch, open_torch
from unveil.compare.exact import UnitRows
from unveil.compare.sizes import BackendSizes
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.errors import SettingError
from unveil.io.checkpoint import Checkpoint
from unveil.io.host import cores
from unveil.types import Floats, Ints


class Backend(Protocol):
    """Finds every pair of queries and gallery rows that can belong to the result.

    To add a backend:

    1. Write a class with these three methods in ``compare/backend_NAME.py``. A backend that uses the matrix product of
       another library needs only a `unveil.compare.blockwise.Multiplier`: `unveil.compare.blockwise.BlockwiseBackend`
       does the rest.
    2. Add two functions to the same module. ``open_NAME(threads, sizes)`` returns the backend, or raises SettingError
       if it cannot run here. ``describe_NAME()`` returns one line for ``unveil info``.
    3. Add an entry to `REGISTRY`, and the name to ``BACKENDS`` in ``unveil/choices.py``.
    4. Add the backend to ``BACKENDS`` in ``tests/compare/builders.py``: every test of the comparison then covers it.

    Candidates may be found in any arithmetic with a proven error bound, but their scores must be those of
    `unveil.compare.exact.exact_cosine`, to the last bit.
    """

    def run(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        matches: Sequence[TopMatches],
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """Adds to each of ``matches`` every pair that can belong to its result; resumes from the checkpoint.

        Several rank the same pairs by scores with other offsets; only the first may have a threshold or a tail. A
        backend that ranks by one score in a pass uses `unveil.compare.topk.one_by_one`. ``progress`` receives the
        number of pairs done since its last call. Raises SettingError for too many pairs at the threshold.
        """

    def tuned(self, queries: UnitRows, gallery: UnitRows, spec: QuerySpec) -> Backend:
        """The same backend for many comparisons of sets like these: choices that affect only speed are made once."""

    def cosines(self, queries: UnitRows, gallery: UnitRows, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of the pairs (q[m], g[m])."""


class Entry(NamedTuple):
    """How to open a backend on some threads with some sizes, and how to describe it in one line."""

    open: Callable[[int, BackendSizes], Backend]
    describe: Callable[[], str]


REGISTRY: dict[str, Entry] = {
    "native": Entry(open_native, describe_native),
    "onnxruntime": Entry(open_onnxruntime, describe_onnxruntime),
    "torch": Entry(open_torch, describe_torch),
    "numpy": Entry(open_numpy, describe_numpy),
}
AUTO = "auto"
DEFAULT_SIZES = BackendSizes()


def open_backend(name: str, threads: int, sizes: BackendSizes = DEFAULT_SIZES) -> Backend:
    """The backend of that name, or the fastest on CPUs for ``auto``; ``threads`` 0 means one per core.

    Raises SettingError for an unknown backend and for one that cannot run here.
    """
    if name not in BACKENDS:
        raise SettingError(f"backend should be one of {', '.join(BACKENDS)}, got {name!r}")
    return REGISTRY[_automatic() if name == AUTO else name].open(threads or cores(), sizes)


def describe() -> list[tuple[str, str]]:
    """Each backend's name with one line on it: what ``auto`` uses comes first."""
    return [(AUTO, f"uses {_automatic()}"), *((name, entry.describe()) for name, entry in REGISTRY.items())]


def _automatic() -> str:
    return "native" if is_native_available() else "onnxruntime"
