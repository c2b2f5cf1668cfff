"""The backend for GPUs: PyTorch's matrix product in half precision, decisions on the device, exact scores on CPUs.

The same code runs on PyTorch's CPU device, in single precision.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unveil.compare.blockwise import QuantisedSide, Survey, Thin, Vectors
from unveil.compare.error_bounds import gamma
from unveil.types import Floats, Ints

if TYPE_CHECKING:
    import torch

GROUP = 32  # gallery rows whose maximum is looked at
UNIT_ROUNDOFF_HALF = 2.0**-11


@dataclass(frozen=True)
class TorchProduct:
    """Multiplies on a PyTorch device."""

    device: torch.device
    dtype: torch.dtype
    surveys: bool

    @classmethod
    def on(cls, device: str | None = None, half: bool | None = None, surveys: bool | None = None) -> TorchProduct:
        """The first GPU, or the CPU if there is none. A GPU multiplies in half precision and makes a survey.

        Raises ImportError without torch.
        """
        import torch

        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = chosen.type != "cpu"
        half, surveys = (on_gpu if value is None else value for value in (half, surveys))
        return cls(chosen, torch.float16 if half else torch.float32, bool(surveys))

    @property
    def name(self) -> str:
        return f"torch {self.device.type} {self.dtype}"

    def panel(self, queries: Vectors, offset: Floats) -> TorchPanel:
        """Queries on the device."""
        return TorchPanel(self, self.load(queries), offset)

    def rows(self, gallery: Vectors, offset: Floats) -> TorchRows:
        """Gallery rows on the device."""
        return TorchRows(self.load(gallery), TorchSide.on(self.device, QuantisedSide.of(offset, 0.0)))

    def room(self) -> int:
        """Half of the GPU's free memory for rows in half precision; on the CPU, what one can spare."""
        import torch

        return int(torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else 1 << 30

    def load(self, rows: Vectors) -> torch.Tensor:
        """Rows on the device, rounded to its precision."""
        import torch

        return torch.from_numpy(np.array(rows, np.float32)).to(self.device).to(self.dtype)

    def error(self, dims: int) -> float:
        """How far a product of unit rows may stray: rounding of both, summation in single precision, of the result.

        |sum a b| <= |a| |b| bounds the first and last; gamma_D with twice the single unit roundoff the sum, since
        tensor cores may truncate (Higham 2002, section 3.1, doi:10.1137/1.9780898718027; Fasi et al. 2021,
        doi:10.7717/peerj-cs.330); subnormal halves lose at most 2^-25 each.
        """
        import torch

        summing = 1.05 * gamma(2 * dims)
        if self.dtype == torch.float32:
            return summing
        return float(3.2 * UNIT_ROUNDOFF_HALF + summing + 2 * 2.0**-25 * np.sqrt(dims))


@dataclass(frozen=True)
class TorchSide:
    """The bounds of a block's rows or columns, in memory and on the device."""

    host: QuantisedSide
    low: torch.Tensor
    high: torch.Tensor
    constant: float | None  # the lower bound if it is the same for every row: a comparison without offsets

    @classmethod
    def on(cls, device: torch.device, side: QuantisedSide) -> TorchSide:
        """Copies both bounds to the device."""
        import torch

        low, high = (torch.from_numpy(bound).to(device) for bound in (side.low, side.high))
        same = bool(side.low.min() == side.low.max())
        return cls(side, low, high, float(side.low[0]) if same else None)


@dataclass(frozen=True)
class TorchRows:
    """Gallery rows on the device."""

    rows: torch.Tensor
    side: TorchSide


@dataclass(frozen=True)
class TorchPanel:
    """Queries on the device."""

    owner: TorchProduct
    queries: torch.Tensor
    offset: Floats

    @functools.cached_property
    def _side(self) -> TorchSide:
        return TorchSide.on(self.owner.device, QuantisedSide.of(self.offset, self.owner.error(self.queries.shape[1])))

    def block(self, rows: TorchRows) -> TorchBlock:
        """Products with some gallery rows; they stay on the device."""
        import torch

        if self.owner.device.type == "cuda":
            # A new thread gets its CUDA context from its first runtime call. Without one, cuBLAS emits a warning.
            torch.cuda.current_stream(self.owner.device).synchronize()
        return TorchBlock(self._product(rows), rows.side, self._side)

    def survey(self, blocks: Iterable[TorchRows], top_k: int, best_rows: bool) -> Survey | None:
        """Finds the bounds on the device, where a second product takes less time than exact scores on the CPU."""
        import torch

        if not self.owner.surveys or not (top_k or best_rows):
            return None
        best = torch.empty((0, len(self.queries)), device=self.owner.device)
        of_rows: list[torch.Tensor] = []
        for rows in blocks:
            product = self._product(rows)
            if top_k:
                best = torch.cat([best, _best_of_groups(product, rows.side, top_k)])
                best = best.topk(min(top_k, len(best)), dim=0).values
            if best_rows:
                of_rows.append(
                    _plus(product, self._side, 0).amax(1).float() + (self._side.constant or 0) + rows.side.low
                )
        of_queries = np.full(len(self.queries), -np.inf, np.float32)
        if top_k and len(best) == top_k:
            of_queries = best[-1].cpu().numpy() + self._side.host.low
        return Survey(of_queries, [part.cpu().numpy() for part in of_rows])

    def _product(self, rows: TorchRows) -> torch.Tensor:
        with _full_accumulation():
            return rows.rows @ self.queries.T


def _plus(product: torch.Tensor, side: TorchSide, axis: int) -> torch.Tensor:
    """Products plus the lower bounds of one side. A constant bound is added later, to their maxima."""
    return product if side.constant is not None else product.float() + side.low.unsqueeze(axis)


def _best_of_groups(product: torch.Tensor, side: TorchSide, k: int) -> torch.Tensor:
    """Lower bounds (at least k, queries) of the best pair in each group of rows, without the queries' own bound.

    A group takes rows that are far apart: neighbouring rows often show one person and would be the best together.
    """
    n, n_queries = product.shape
    size = GROUP if n >= GROUP * k else 1
    groups = _plus(product, side, 1)[: n // size * size].reshape(size, n // size, n_queries)
    return groups.amax(0).float() + (side.constant or 0)


@contextlib.contextmanager
def _full_accumulation() -> Iterator[None]:
    """The proof needs sums in single precision: no halves within a sum, no TF32."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_tf32
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_tf32 = False, False
    try:
        yield
    finally:
        matmul.allow_fp16_reduced_precision_reduction, matmul.allow_tf32 = before


@dataclass(frozen=True)
class TorchBlock:
    """Rough products (gallery rows, queries) on the device."""

    product: torch.Tensor
    gallery: TorchSide
    queries: TorchSide

    def best_of_queries(self, k: int) -> Thin:
        """The k-th largest of each column."""
        if k > len(self.product):
            return np.full(self.product.shape[1], -np.inf, np.float32)
        low = self.product.float() + self.gallery.low[:, None]
        kth: Thin = low.topk(k, dim=0).values[-1].cpu().numpy() + self.queries.host.low
        return kth

    def best_of_rows(self) -> Thin:
        """The largest of each row."""
        best: Thin = (self.product.float() + self.queries.low[None]).amax(1).cpu().numpy()
        return best + self.gallery.host.low

    def best_overall(self, n: int) -> float:
        """The n-th largest of all."""
        if n > self.product.numel():
            return -np.inf
        low = self.product.float() + self.queries.low[None] + self.gallery.low[:, None]
        return float(low.flatten().topk(n).values[-1])

    def reaching(self, row_floor: Thin, query_floor: Thin) -> tuple[Ints, Ints]:
        """Opens the groups whose maximum could reach; only indexes leave the device."""
        import torch

        n, n_queries = self.product.shape
        padding = -n % GROUP
        pad = torch.nn.functional.pad
        # torch.nn.functional.pad copies even if it adds nothing.
        product = pad(self.product, (0, 0, 0, padding), value=-np.inf) if padding else self.product
        grouped = product.reshape(-1, GROUP, n_queries)
        row_floors = pad(self._here(row_floor), (0, padding), value=np.inf).reshape(-1, GROUP)
        row_highs = pad(self.gallery.high, (0, padding), value=-np.inf).reshape(-1, GROUP)
        query_floors, query_highs = self._here(query_floor), self.queries.high

        most = grouped.amax(1).float() + row_highs.amax(1)[:, None] + query_highs[None]
        groups, q = torch.nonzero(most >= torch.minimum(row_floors.amin(1)[:, None], query_floors[None]), as_tuple=True)
        upper = grouped[groups, :, q].float() + (row_highs[groups] + query_highs[q][:, None])
        at, within = torch.nonzero(upper >= torch.minimum(row_floors[groups], query_floors[q][:, None]), as_tuple=True)
        g = groups[at] * GROUP + within
        real = g < n
        return g[real].cpu().numpy(), q[at][real].cpu().numpy()

    def _here(self, values: Thin) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.product.device)
