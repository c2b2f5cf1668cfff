"""Which comparator compares, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from unveil import native
from unveil.compare.checkpoint import Checkpoint
from unveil.compare.exact import exact_cosine
from unveil.compare.grouped import Grouped
from unveil.compare.kept import Kept, Wanted
from unveil.compare.native import Native
from unveil.compare.reference import Reference
from unveil.compare.torched import TorchProduct
from unveil.errors import SettingError
from unveil.machine import cores
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]

COMPARATORS = ("auto", "native", "portable", "torch", "reference")


class Comparator(Protocol):
    """Takes every pair that can matter into what is kept; how is its own affair."""

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: Kept,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """All pairs, going on from the checkpoint."""

    def settled(self, queries: Vectors, gallery: Vectors, wanted: Wanted) -> Comparator:
        """The same for many comparisons of sets like these: what only time depends on is decided once."""

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""


def choose(name: str, threads: int) -> Comparator:
    """The comparator of that name. Raises SettingError for an unknown one and for one that is not here."""
    threads = threads or cores()
    if name not in COMPARATORS:
        raise SettingError(f"comparator {name!r} is not known; use one of {', '.join(COMPARATORS)}")
    if name == "reference":
        return Reference()
    if name == "torch":
        return _on_torch()
    library, why = native.load()
    if name == "native" and library is None:
        raise SettingError(f"the compiled kernel is not here: {why}; --comparator auto does without it")
    if name == "portable" or library is None:
        from unveil.compare.portable import IntegerProduct

        return Grouped(IntegerProduct(), threads)
    return Native(library, library.best, threads)


def _on_torch() -> Comparator:
    try:
        product = TorchProduct.on()
    except ImportError:
        raise SettingError(
            "comparator torch needs PyTorch, which is not installed: pip install torch (see pytorch.org for your GPU)"
        ) from None
    library, _ = native.load()
    score = exact_cosine if library is None else Native(library, library.best, 1).cosines
    # A GPU is fed with large blocks and by one thread.
    rows = 16384 if product.device.type != "cpu" else 2048
    return Grouped(product, 1, rows, rows, score)


def describe() -> list[tuple[str, str]]:
    """Each comparator's name and whether it runs here, and why or how; what ``auto`` takes comes first."""
    library, why = native.load()
    told = [("auto", "takes " + ("native" if library is not None else "portable")), ("native", why)]
    from unveil.compare.portable import weight_levels

    bits = 8 if weight_levels() > 64 else 7
    told.append(("portable", f"ONNX Runtime's int8 product, {bits} bits for queries on this processor"))
    try:
        product = TorchProduct.on()
        told.append(("torch", f"PyTorch on {product.device}, {str(product.dtype).removeprefix('torch.')}"))
    except ImportError:
        told.append(("torch", "PyTorch is not installed"))
    return [*told, ("reference", "NumPy; slow, for checking the others")]
