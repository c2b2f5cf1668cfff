"""Sets of vectors for the tests of the comparison, its definition by brute force, and every backend in small tiles."""

from __future__ import annotations

import importlib.util
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.builders import unit_rows
from tests.engines import LocalEngine
from unveil import native
from unveil.compare import exact_cosine
from unveil.compare.backend_native import NativeBackend
from unveil.compare.backend_numpy import NumpyBackend
from unveil.compare.backend_onnxruntime import IntegerProduct
from unveil.compare.backend_torch import TorchProduct
from unveil.compare.backends import Backend, open_backend
from unveil.compare.blockwise import BlockwiseBackend
from unveil.compare.distributed import DistributedBackend, TileSizes
from unveil.compare.topk import worst_first
from unveil.types import Floats, Matches

MakeBackend = Callable[[int, int], Backend]  # by the rows of a panel and of a block


class Killed(BaseException):
    """What ends a comparison as a killed process would: nothing catches it."""


def killed_at(tile: int) -> Callable[[int], None]:
    """The progress of a comparison that is killed when this tile, counted from 1, is done."""
    tiles = 0

    def progress(n: int) -> None:
        nonlocal tiles
        tiles += n > 0
        if tiles == tile:
            raise Killed

    return progress


def all_scores(q: Any, g: Any, qo: Floats, go: Floats) -> tuple[Floats, Floats]:
    rows, cols = np.divmod(np.arange(len(q) * len(g)), max(1, len(g)))
    cosine = exact_cosine(q, g, rows, cols)
    return cosine.reshape(len(q), len(g)), (cosine + qo[rows] + go[cols]).reshape(len(q), len(g))


def check(matches: Matches, q: Any, g: Any, k: int, n_top: int, t: float, qo: Floats, go: Floats) -> None:
    cosine, score = all_scores(q, g, qo, go)
    k, n_top = min(k, len(g)), min(n_top, score.size)
    order = np.lexsort((np.broadcast_to(np.arange(len(g)), score.shape), -score), axis=1)[:, :k]
    assert np.array_equal(matches.rows, order)
    assert np.array_equal(matches.score, np.take_along_axis(score, order, 1))
    assert np.array_equal(matches.cosine, np.take_along_axis(cosine, order, 1))
    if len(q):
        best = score.argmax(0)
        assert np.array_equal(matches.best_query, best)
        assert np.array_equal(matches.best_query_score, score[best, np.arange(len(g))])
        assert np.array_equal(matches.best_query_cosine, cosine[best, np.arange(len(g))])
    else:
        assert (matches.best_query == -1).all()
    flat = np.argsort(-score.ravel(), kind="stable")[:n_top]
    assert np.array_equal(matches.top_pairs, np.column_stack(np.divmod(flat, max(1, len(g)))))
    assert np.array_equal(matches.top_pairs_score, score.ravel()[flat])
    assert matches.pairs is not None and matches.pairs_score is not None
    assert np.array_equal(matches.pairs, np.argwhere(score >= t))
    assert np.array_equal(matches.pairs_score, score[score >= t])
    assert matches.n_compared == len(q) * len(g)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Any, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d = draw(st.sampled_from([1, 3, 8, 9, 128, 129, 512]))
    nq, ng = draw(st.integers(0, 40)), draw(st.integers(0, 110))
    q, g = unit_rows(rng, nq, d), unit_rows(rng, ng, d)
    if nq and ng and draw(st.booleans()):  # planted near-duplicates, exact duplicates and ties
        g[rng.integers(ng, size=ng // 2)] = g[rng.integers(ng)]
        q[rng.integers(nq, size=nq // 3)] = g[rng.integers(ng)]
        g[ng // 2] = near(g[0], rng)
    if ng and d > 1 and draw(st.booleans()):  # rows that stretch any scale: one coordinate holds nearly everything
        g[0] = stretched(d, rng)
        q[: nq // 4] = stretched(d, rng)
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    qo, go = rng.normal(size=nq) * 0.2, rng.normal(size=ng) * 0.2
    if draw(st.booleans()):
        qo[:], go[:] = 0, 0
    return q.astype(dtype), g.astype(dtype), qo, go, draw(st.integers(0, 12)), draw(st.integers(0, 30))


def near(row: Any, rng: np.random.Generator) -> Any:
    """The same direction but for the last bits."""
    return np.nextafter(row, rng.choice([-1, 1], size=row.shape).astype(row.dtype))


def stretched(d: int, rng: np.random.Generator) -> Any:
    row = rng.normal(size=d) * 1e-3
    row[rng.integers(d)] = 1
    return row / np.linalg.norm(row)


def kernels() -> dict[str, MakeBackend]:
    """Every kernel of the library that runs here, on several threads."""
    library, _ = native.load()
    if library is None:
        return {}

    def backend(kernel: native.Kernel, panel: int, block: int) -> Backend:
        return NativeBackend(library, kernel, 1 + panel % 3, panel, block * 600, pilot_rows=2)

    return {kernel.name: partial(backend, kernel) for kernel in library.kernels if kernel.available}


def multipliers() -> dict[str, MakeBackend]:
    """Every matrix product of another library that is installed."""
    made: dict[str, Any] = {"onnxruntime": IntegerProduct(), "onnxruntime seven bits": IntegerProduct(63)}
    if importlib.util.find_spec("torch") is not None:
        import torch

        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            made[f"torch {device} single"] = TorchProduct.on(device, False, False)
            made[f"torch {device} half, surveyed"] = TorchProduct.on(device, True, True)
    return {name: partial(blockwise, made[name]) for name in made}


def blockwise(multiplier: Any, panel: int, block: int) -> Backend:
    """A backend of two threads, whose pairs are sorted on the device where the multiplier has one."""
    order = getattr(multiplier, "worst_first", worst_first)
    return BlockwiseBackend(multiplier, 2, panel, block, order=order)


def distributed(backend: str, panel: int, block: int) -> Backend:
    """Tiles of a few rows by an engine, merged in a folder; two blocks along the gallery, whatever its size."""
    folder = tempfile.TemporaryDirectory()
    # Not smaller: a tile takes milliseconds for its files.
    sizes = TileSizes(max(5, panel), max(9, block), 2, fan_in=3, min_pairs=0)
    made = DistributedBackend(LocalEngine(panel), backend, open_backend("numpy", 1), folder.name, "work", sizes)
    weakref.finalize(made, folder.cleanup)
    return made


BACKENDS: dict[str, MakeBackend] = {
    "numpy": NumpyBackend,
    **kernels(),
    **multipliers(),
    **{f"distributed {name}": partial(distributed, name) for name in ("native", "onnxruntime")[not kernels() :]},
}
needs_kernel = pytest.mark.skipif(native.load()[0] is None, reason=native.load()[1])
for_every_backend = pytest.mark.parametrize("name", BACKENDS)
