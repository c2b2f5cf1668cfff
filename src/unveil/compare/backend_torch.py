"""The backend for GPUs: PyTorch's half-precision product, decisions and sorts on the device, exact scores on the CPU.

The same code runs on PyTorch's CPU device, in single precision.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unveil.compare.backend_native import exact_scorer
from unveil.compare.blockwise import BlockwiseBackend, OffsetBounds, Survey
from unveil.compare.error_bounds import gamma
from unveil.compare.exact import Float32s, UnitRows
from unveil.compare.sizes import BackendSizes
from unveil.compare.topk import worst_first
from unveil.errors import SettingError
from unveil.types import Floats, Ints

if TYPE_CHECKING:
    import torch

GROUP = 32  # gallery rows that share one maximum
UNIT_ROUNDOFF_HALF = 2.0**-11
CPU_CACHE_BYTES = 1 << 30
# Rows of panels and blocks: a GPU needs large ones.
GPU_ROWS, CPU_ROWS = 16384, 2048


def open_torch(threads: int, sizes: BackendSizes) -> BlockwiseBackend[TorchRows]:
    """The backend on the first GPU, or on the CPU when there is none; ``threads`` compute exact scores.

    Raises SettingError when PyTorch is not installed.
    """
    try:
        product = TorchProduct.on()
    except ImportError:
        raise SettingError(
            "backend torch needs PyTorch, which is not installed: pip install torch (see pytorch.org for your GPU)"
        ) from None
    on_cpu = product.device.type == "cpu"
    rows = CPU_ROWS if on_cpu else GPU_ROWS
    panel_rows, block_rows = sizes.panel_rows or rows, sizes.block_rows or rows
    order = worst_first if on_cpu else product.worst_first
    return BlockwiseBackend(product, 1, panel_rows, block_rows, exact_scorer(threads), order)


def describe_torch() -> str:
    """One line for ``unveil info``."""
    try:
        product = TorchProduct.on()
    except ImportError:
        return "PyTorch is not installed"
    return f"PyTorch on {product.device}, {str(product.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class TorchProduct:
    """Multiplies on a PyTorch device."""

    device: torch.device
    dtype: torch.dtype
    surveys: bool

    @classmethod
    def on(cls, device: str | None = None, half: bool | None = None, surveys: bool | None = None) -> TorchProduct:
        """On a device, by default the first GPU or else the CPU.

        By default a GPU multiplies in half precision and makes a survey. Raises ImportError without PyTorch.
        """
        import torch

        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = chosen.type != "cpu"
        half, surveys = (on_gpu if value is None else value for value in (half, surveys))
        return cls(chosen, torch.float16 if half else torch.float32, bool(surveys))

    @property
    def name(self) -> str:
        return f"torch {self.device.type} {self.dtype}"

    def panel(self, queries: UnitRows, offset: Floats) -> TorchPanel:
        """Queries on the device."""
        return TorchPanel(self, self.load(queries), offset)

    def rows(self, gallery: UnitRows, offset: Floats) -> TorchRows:
        """Gallery rows on the device."""
        return TorchRows(self.load(gallery), DeviceBounds.on(self.device, OffsetBounds.of(offset, 0.0)))

    def cache_bytes(self) -> int:
        """The free memory of the GPU, of which rows in half precision take half; on the CPU a fixed amount."""
        import torch

        return int(torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else CPU_CACHE_BYTES

    def load(self, rows: UnitRows) -> torch.Tensor:
        """Rows on the device, rounded to its precision."""
        import torch

        return torch.from_numpy(np.array(rows, np.float32)).to(self.device).to(self.dtype)

    def error(self, dims: int) -> float:
        """The largest error of a product of unit rows: rounding of both, summation, and rounding of the result.

        |sum a b| <= |a| |b| bounds the first and last. gamma_D with twice the single unit roundoff bounds the sum,
        since tensor cores may truncate (Higham 2002, section 3.1, doi:10.1137/1.9780898718027; Fasi et al. 2021,
        doi:10.7717/peerj-cs.330). Subnormal halves lose at most 2^-25 each.
        """
        import torch

        summing = 1.05 * gamma(2 * dims)
        if self.dtype == torch.float32:
            return summing
        return float(3.2 * UNIT_ROUNDOFF_HALF + summing + 2 * 2.0**-25 * np.sqrt(dims))

    def worst_first(self, place: Ints, score: Floats, g: Ints) -> Ints:
        """As `unveil.compare.topk.worst_first`, by three stable sorts on the device, the last key first."""
        import torch

        # Adding 0 turns -0 into 0, which a sort by bits would tell apart.
        keys = (torch.from_numpy(np.ascontiguousarray(key)).to(self.device) for key in (-g, score + 0.0, place))
        order = torch.argsort(next(keys), stable=True)
        for key in keys:
            order = order[torch.argsort(key[order], stable=True)]
        return np.asarray(order.cpu().numpy(), np.int64)


@dataclass(frozen=True)
class DeviceBounds:
    """The bounds of a block's rows or columns, in memory and on the device."""

    host: OffsetBounds
    low: torch.Tensor
    high: torch.Tensor
    constant: float | None  # the lower bound if it is the same for every row: a comparison without offsets

    @classmethod
    def on(cls, device: torch.device, bounds: OffsetBounds) -> DeviceBounds:
        """Copies both bounds to the device."""
        import torch

        low, high = (torch.from_numpy(bound).to(device) for bound in (bounds.low, bounds.high))
        same = bool(bounds.low.min() == bounds.low.max())
        return cls(bounds, low, high, float(bounds.low[0]) if same else None)


@dataclass(frozen=True)
class TorchRows:
    """Gallery rows on the device."""

    rows: torch.Tensor
    bounds: DeviceBounds


@dataclass(frozen=True)
class TorchPanel:
    """Queries on the device."""

    product: TorchProduct
    queries: torch.Tensor
    offset: Floats

    @functools.cached_property
    def _bounds(self) -> DeviceBounds:
        bounds = OffsetBounds.of(self.offset, self.product.error(self.queries.shape[1]))
        return DeviceBounds.on(self.product.device, bounds)

    def block(self, rows: TorchRows) -> TorchBlock:
        """Products with some gallery rows; they stay on the device."""
        import torch

        if self.product.device.type == "cuda":
            # A new thread gets its CUDA context from its first runtime call. Without one, cuBLAS emits a warning.
            torch.cuda.current_stream(self.product.device).synchronize()
        return TorchBlock(self._multiplied(rows), rows.bounds, self._bounds)

    def survey(self, blocks: Iterable[TorchRows], top_k: int, best_rows: bool) -> Survey | None:
        """Finds the bounds on the device, where a second product takes less time than exact scores on the CPU."""
        import torch

        if not self.product.surveys or not (top_k or best_rows):
            return None
        best = torch.empty((0, len(self.queries)), device=self.product.device)
        of_rows: list[torch.Tensor] = []
        for rows in blocks:
            product = self._multiplied(rows)
            if top_k:
                best = torch.cat([best, _best_of_groups(product, rows.bounds, top_k)])
                best = best.topk(min(top_k, len(best)), dim=0).values
            if best_rows:
                row_max = _plus_varying(product, self._bounds, 0).amax(1).float()
                of_rows.append(row_max + (self._bounds.constant or 0) + rows.bounds.low)
        of_queries = np.full(len(self.queries), -np.inf, np.float32)
        if top_k and len(best) == top_k:
            of_queries = best[-1].cpu().numpy() + self._bounds.host.low
        return Survey(of_queries, [part.cpu().numpy() for part in of_rows])

    def _multiplied(self, rows: TorchRows) -> torch.Tensor:
        with single_precision_sums():
            return rows.rows @ self.queries.T


def _plus_varying(product: torch.Tensor, bounds: DeviceBounds, axis: int) -> torch.Tensor:
    """Products plus the lower bounds of one side, unless they are constant; a constant is added to maxima later."""
    return product if bounds.constant is not None else product.float() + bounds.low.unsqueeze(axis)


def _best_of_groups(product: torch.Tensor, bounds: DeviceBounds, k: int) -> torch.Tensor:
    """Lower bounds (at least k, queries) of the best pair in each group of rows, without the queries' own bound.

    A group takes rows that are far apart: neighbouring rows often show one person and would be the best together.
    """
    n, n_queries = product.shape
    size = GROUP if n >= GROUP * k else 1
    groups = _plus_varying(product, bounds, 1)[: n // size * size].reshape(size, n // size, n_queries)
    return groups.amax(0).float() + (bounds.constant or 0)


@contextlib.contextmanager
def single_precision_sums() -> Iterator[None]:
    """Within the block, products are summed in single precision, as the proof requires; then the old settings return.

    Half-precision accumulation is off, and so is the replacement of float32 by TF32 or bfloat16.
    """
    import torch

    halves = torch.backends.cuda.matmul
    accumulates = halves.allow_fp16_reduced_precision_reduction
    # Since PyTorch 2.9 each library has a setting of its own, and reading the old common one may raise an error.
    new = hasattr(halves, "fp32_precision")
    mkldnn: Any = torch.backends.mkldnn
    settings = [(halves, "fp32_precision"), (mkldnn.matmul, "fp32_precision")] if new else []
    before = [getattr(owner, name) for owner, name in settings]
    common = None if new else torch.get_float32_matmul_precision()
    try:
        halves.allow_fp16_reduced_precision_reduction = False
        for owner, name in settings:
            setattr(owner, name, "ieee")
        if common is not None:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        halves.allow_fp16_reduced_precision_reduction = accumulates
        for (owner, name), value in zip(settings, before, strict=True):
            setattr(owner, name, value)
        if common is not None:
            torch.set_float32_matmul_precision(common)


@dataclass(frozen=True)
class TorchBlock:
    """Rough products (gallery rows, queries) on the device."""

    product: torch.Tensor
    gallery: DeviceBounds
    queries: DeviceBounds

    def best_of_queries(self, k: int) -> Float32s:
        """The k-th largest of each column."""
        if k > len(self.product):
            return np.full(self.product.shape[1], -np.inf, np.float32)
        low = self.product.float() + self.gallery.low[:, None]
        kth: Float32s = low.topk(k, dim=0).values[-1].cpu().numpy() + self.queries.host.low
        return kth

    def best_of_rows(self) -> Float32s:
        """The largest of each row."""
        best: Float32s = (self.product.float() + self.queries.low[None]).amax(1).cpu().numpy()
        return best + self.gallery.host.low

    def best_overall(self, n: int) -> float:
        """The n-th largest of all."""
        if n > self.product.numel():
            return -np.inf
        low = self.product.float() + self.queries.low[None] + self.gallery.low[:, None]
        return float(low.flatten().topk(n).values[-1])

    def reaching(self, row_floor: Float32s, query_floor: Float32s) -> tuple[Ints, Ints]:
        """As `Block.reaching`; only the indexes of pairs leave the device."""
        import torch

        n, n_queries = self.product.shape
        padding = -n % GROUP
        pad = torch.nn.functional.pad
        # torch.nn.functional.pad copies even if it adds nothing.
        product = pad(self.product, (0, 0, 0, padding), value=-np.inf) if padding else self.product
        grouped = product.reshape(-1, GROUP, n_queries)
        row_floors = pad(self._on_device(row_floor), (0, padding), value=np.inf).reshape(-1, GROUP)
        row_highs = pad(self.gallery.high, (0, padding), value=-np.inf).reshape(-1, GROUP)
        query_floors, query_highs = self._on_device(query_floor), self.queries.high

        group_max = grouped.amax(1).float() + row_highs.amax(1)[:, None] + query_highs[None]
        least = torch.minimum(row_floors.amin(1)[:, None], query_floors[None])
        groups, q = torch.nonzero(group_max >= least, as_tuple=True)
        upper = grouped[groups, :, q].float() + (row_highs[groups] + query_highs[q][:, None])
        at, within = torch.nonzero(upper >= torch.minimum(row_floors[groups], query_floors[q][:, None]), as_tuple=True)
        g = groups[at] * GROUP + within
        real = g < n
        return g[real].cpu().numpy(), q[at][real].cpu().numpy()

    def _on_device(self, values: Float32s) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.product.device)
