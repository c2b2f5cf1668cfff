"""The backend for machines without the compiled kernel: ONNX Runtime's int8 product with decisions in NumPy.

ONNX Runtime is always installed, and on most processors its int8 product is several times as fast as a float32 product.
Integer products are exact unless sums of 16 bits saturate, which happens on some processors without dot-product
instructions. A probe finds out, and queries use seven bits there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unveil.compare.blockwise import BLOCK_ROWS, PANEL_ROWS, BlockwiseBackend, OffsetBounds
from unveil.compare.error_bounds import QuantisedRows
from unveil.compare.exact import Float32s, UnitRows
from unveil.compare.sizes import BackendSizes
from unveil.types import Floats, Ints

if TYPE_CHECKING:
    import onnxruntime

GROUP = 8  # gallery rows that share one maximum
ZERO = 128
# Covers the float32 scaling of a product of at most about one: three roundings of 2^-24, doubled.
SLACK = 5e-7
# Seven bits never saturate: 255 * 63 * 2 < 2^15.
NARROW, WIDE = 63, 127
CACHE_BYTES = 2 << 30  # of stored rows; int8 copies take a quarter of float32 rows and half of float16 rows

# An int8 product (G, P) of unsigned rows (G, D) with signed weights (P, D); see `_session`.
SessionFactory = Callable[[npt.NDArray[np.int8], Float32s | None], Any]


def open_onnxruntime(threads: int, sizes: BackendSizes) -> BlockwiseBackend[IntegerRows]:
    """The backend on some threads."""
    rows = sizes.panel_rows or PANEL_ROWS, sizes.block_rows or BLOCK_ROWS
    return BlockwiseBackend(IntegerProduct(), threads, *rows)


def describe_onnxruntime() -> str:
    """One line for ``unveil info``."""
    bits = 8 if weight_levels() > 64 else 7
    return f"ONNX Runtime's int8 product; {bits} bits for queries on this processor"


@dataclass(frozen=True)
class IntegerProduct:
    """Multiplies in int8; query values are at most ``levels`` in size, by default what this processor permits."""

    levels: int | None = None
    name: str = "onnxruntime"

    def panel(self, queries: UnitRows, offset: Floats) -> IntegerPanel:
        """Quantises the queries and gives them to ONNX Runtime as weights."""
        return IntegerPanel(QuantisedRows.of(queries, self.levels or weight_levels()), offset)

    def rows(self, gallery: UnitRows, offset: Floats) -> IntegerRows:
        """Quantises gallery rows, and pads them to whole groups with rows that reach no floor."""
        quantised, n = QuantisedRows.of(gallery), len(gallery)
        padded = -(-n // GROUP) * GROUP
        values = np.full((padded, gallery.shape[1]), ZERO, np.uint8)
        np.add(quantised.values, ZERO, out=values[:n], dtype=np.int16, casting="unsafe")
        scale = np.zeros((padded, 1), np.float32)
        scale[:n, 0] = quantised.scale
        return IntegerRows(values, scale, offset, quantised.error, float(quantised.norm.max()))

    def cache_bytes(self) -> int:
        """A fixed share of an ordinary machine's memory."""
        return CACHE_BYTES


@dataclass(frozen=True)
class IntegerRows:
    """Quantised gallery rows."""

    values: npt.NDArray[np.uint8]
    scale: Float32s
    offset: Floats
    error: Floats
    norm: float


@dataclass(frozen=True)
class IntegerPanel:
    """A panel of queries as the weights of a small graph."""

    quantised: QuantisedRows
    offset: Floats

    @functools.cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return _session(self.quantised.values, self.quantised.scale)

    def block(self, rows: IntegerRows) -> ScaledBlock:
        """Scaled products with some gallery rows."""
        product, group_max = self._session.run(None, {"gallery": rows.values, "scale": rows.scale})
        queries = OffsetBounds.of(self.offset, self.quantised.error * rows.norm + SLACK)
        gallery = OffsetBounds.of(rows.offset, rows.error * self.quantised.norm.max())
        return ScaledBlock(product[: len(rows.offset)], group_max, gallery, queries)

    def survey(self, blocks: Iterable[IntegerRows], top_k: int, best_rows: bool) -> None:
        """None: on a CPU a second product takes longer than the exact scores that it would save."""


@dataclass(frozen=True)
class ScaledBlock:
    """Rough products (gallery rows, queries) in memory."""

    product: Float32s
    group_max: Float32s  # (groups of gallery rows, queries)
    gallery: OffsetBounds
    queries: OffsetBounds

    def best_of_queries(self, k: int) -> Float32s:
        """As `Block.best_of_queries`; from the group maxima if there are enough, since each is a pair of its own."""
        if k > len(self.product):
            return np.full(self.product.shape[1], -np.inf, np.float32)
        low = self._low_of_groups() if k <= len(self.group_max) else self.product + self.gallery.low[:, None]
        kth: Float32s = np.partition(low, len(low) - k, axis=0)[len(low) - k] + self.queries.low
        return kth

    def best_of_rows(self) -> Float32s:
        """The maximum of each row."""
        best: Float32s = (self.product + self.queries.low[None]).max(1) + self.gallery.low
        return best

    def best_overall(self, n: int) -> float:
        """As `Block.best_overall`; from the group maxima if there are enough."""
        if n > self.product.size:
            return -np.inf
        low = self._low_of_groups() if n <= self.group_max.size else self.product + self.gallery.low[:, None]
        return float(np.partition(low + self.queries.low[None], low.size - n, axis=None)[low.size - n])

    def reaching(self, row_floor: Float32s, query_floor: Float32s) -> tuple[Ints, Ints]:
        """As `Block.reaching`; checks single pairs only in groups whose maximum can reach a floor."""
        least = np.minimum(query_floor[None], _by_group(row_floor, np.inf).min(1)[:, None])
        high = _by_group(self.gallery.high, -np.inf).max(1)[:, None] + self.queries.high[None]
        groups, q = np.nonzero(self.group_max + high >= least)
        g = (groups[:, None] * GROUP + np.arange(GROUP)[None]).ravel()
        q = np.repeat(q, GROUP)
        real = g < len(self.product)
        g, q = g[real], q[real]
        upper = self.product[g, q] + (self.gallery.high[g] + self.queries.high[q])
        reached = upper >= np.minimum(row_floor[g], query_floor[q])
        return g[reached], q[reached]

    def _low_of_groups(self) -> Float32s:
        """A lower bound of the best pair of each group, without the query's own part."""
        low: Float32s = self.group_max + _by_group(self.gallery.low, np.inf).min(1)[:, None]
        if len(self.product) % GROUP:
            # The maximum of the last group may come from padding.
            low[-1] = (self.product + self.gallery.low[:, None])[(len(self.group_max) - 1) * GROUP :].max(0)
        return low


def _by_group(values: Float32s, padding: float) -> Float32s:
    padded = np.full(-(-len(values) // GROUP) * GROUP, padding, np.float32)
    padded[: len(values)] = values
    return padded.reshape(-1, GROUP)


def _session(weights: npt.NDArray[np.int8], scale: Float32s | None) -> onnxruntime.InferenceSession:
    """Multiplies rows (G, D) uint8 by ``weights`` (P, D): int32 products (G, P).

    With ``scale`` (P,) the products are scaled to float32, and a second output holds the maxima of groups.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("MatMulInteger", ["gallery", "queries", "zero"], ["dot"])]
    constants: dict[str, npt.NDArray[Any]] = {
        "queries": np.ascontiguousarray(weights.T),
        "zero": np.array(ZERO, np.uint8),
    }
    dims, n = weights.shape[1], len(weights)
    inputs = [helper.make_tensor_value_info("gallery", TensorProto.UINT8, ["rows", dims])]
    outputs = [helper.make_tensor_value_info("dot", TensorProto.INT32, ["rows", n])]
    if scale is not None:
        nodes += [
            helper.make_node("Cast", ["dot"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["real", "query_scale"], ["half"]),
            helper.make_node("Mul", ["half", "scale"], ["product"]),
            helper.make_node("Reshape", ["product", "shape"], ["groups"]),
            helper.make_node("ReduceMax", ["groups", "axis"], ["group_max"], keepdims=0),
        ]
        constants |= {
            "query_scale": scale[None],
            "shape": np.array([-1, GROUP, n]),
            "axis": np.array([1]),
        }
        inputs.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["rows", 1]))
        outputs = [
            helper.make_tensor_value_info("product", TensorProto.FLOAT, ["rows", n]),
            helper.make_tensor_value_info("group_max", TensorProto.FLOAT, ["groups", n]),
        ]
    initial = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "product", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.cache
def weight_levels() -> int:
    """The largest query value for which no sum of two products saturates 16 bits on this processor."""
    return probe_levels(_session)


def probe_levels(session: SessionFactory) -> int:
    """`WIDE` if a product by ``session`` of the largest values is exact, otherwise `NARROW`."""
    dims = 64
    gallery = np.full((GROUP, dims), 255, np.uint8)
    (dot,) = session(np.full((GROUP, dims), WIDE, np.int8), None).run(None, {"gallery": gallery})
    return WIDE if (dot == (255 - ZERO) * WIDE * dims).all() else NARROW
