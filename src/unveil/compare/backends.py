"""Which backend compares, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from unveil import native
from unveil.choices import BACKENDS
from unveil.compare.backend_native import NativeBackend
from unveil.compare.backend_numpy import NumpyBackend
from unveil.compare.backend_torch import TorchProduct
from unveil.compare.blockwise import BlockwiseBackend
from unveil.compare.exact import exact_cosine
from unveil.compare.topk import QuerySpec, TopMatches
from unveil.engine import map_ordered
from unveil.errors import SettingError
from unveil.io.checkpoint import Checkpoint
from unveil.io.host import cores
from unveil.types import Floats, Ints

Vectors = npt.NDArray[np.floating]

Scorer = Callable[[Vectors, Vectors, Ints, Ints], Floats]
PAIRS_PER_TASK = 4096


class Backend(Protocol):
    """Takes every pair that can matter into what is kept; how is its own affair."""

    def run(
        self,
        queries: Vectors,
        gallery: Vectors,
        kept: TopMatches,
        progress: Callable[[int], None],
        checkpoint: Checkpoint,
    ) -> None:
        """All pairs, going on from the checkpoint."""

    def settled(self, queries: Vectors, gallery: Vectors, wanted: QuerySpec) -> Backend:
        """The same for many comparisons of sets like these: what only time depends on is decided once."""

    def cosines(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""


@dataclass(frozen=True)
class ParallelScorer:
    """Exact cosines of many pairs, computed by several threads."""

    score: Scorer
    threads: int

    def __call__(self, queries: Vectors, gallery: Vectors, q: Ints, g: Ints) -> Floats:
        """Exact cosines (M,) of pairs of rows."""
        if len(q) <= PAIRS_PER_TASK:
            return self.score(queries, gallery, q, g)

        def part(start: int) -> Floats:
            return self.score(queries, gallery, q[start : start + PAIRS_PER_TASK], g[start : start + PAIRS_PER_TASK])

        return np.concatenate(list(map_ordered(part, range(0, len(q), PAIRS_PER_TASK), self.threads)))


def open_backend(name: str, threads: int) -> Backend:
    """The backend of that name. Raises SettingError for an unknown one and for one that is not here."""
    threads = threads or cores()
    if name not in BACKENDS:
        raise SettingError(f"backend {name!r} is not known; use one of {', '.join(BACKENDS)}")
    if name == "numpy":
        return NumpyBackend()
    if name == "torch":
        return _on_torch(threads)
    library, why = native.load()
    if name == "native" and library is None:
        raise SettingError(f"the compiled kernel is not here: {why}; --backend auto does without it")
    if name == "onnxruntime" or library is None:
        from unveil.compare.backend_onnxruntime import IntegerProduct

        return BlockwiseBackend(IntegerProduct(), threads)
    return NativeBackend(library, library.best, threads)


def _on_torch(threads: int) -> Backend:
    try:
        product = TorchProduct.on()
    except ImportError:
        raise SettingError(
            "backend torch needs PyTorch, which is not installed: pip install torch (see pytorch.org for your GPU)"
        ) from None
    library, _ = native.load()
    score = (
        exact_cosine if library is None else ParallelScorer(NativeBackend(library, library.best, 1).cosines, threads)
    )
    # A GPU is fed with large blocks and by one thread.
    rows = 16384 if product.device.type != "cpu" else 2048
    return BlockwiseBackend(product, 1, rows, rows, score)


def describe() -> list[tuple[str, str]]:
    """Each backend's name and whether it runs here, and why or how; what ``auto`` takes comes first."""
    library, why = native.load()
    told = [("auto", "takes " + ("native" if library is not None else "onnxruntime")), ("native", why)]
    from unveil.compare.backend_onnxruntime import weight_levels

    bits = 8 if weight_levels() > 64 else 7
    told.append(("onnxruntime", f"ONNX Runtime's int8 product, {bits} bits for queries on this processor"))
    try:
        product = TorchProduct.on()
        told.append(("torch", f"PyTorch on {product.device}, {str(product.dtype).removeprefix('torch.')}"))
    except ImportError:
        told.append(("torch", "PyTorch is not installed"))
    return [*told, ("numpy", "NumPy; slow, for checking the others")]
