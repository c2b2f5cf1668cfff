"""The backend of machines without the compiled kernel: ONNX Runtime's int8 product, NumPy's decisions.

ONNX Runtime comes with every install, and its int8 product is several times as fast as a float32 one on most
processors. Integers leave no doubt about its result: products are exact unless 16-bit sums saturate, which some
processors without dot product instructions do; a probe tells, and seven bits are used there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from unveil.compare.blockwise import QuantisedSide, Thin, Vectors
from unveil.compare.error_bounds import RoundingError
from unveil.types import Floats, Ints

GROUP = 8  # gallery rows whose maximum is looked at
ZERO = 128
# Room for the float32 scaling of a product of at most about one: three roundings of 2^-24, twice over.
SLACK = 5e-7
# Seven bits that never saturate: 255 * 63 * 2 < 2^15.
NARROW, WIDE = 63, 127


class IntegerProduct:
    """Multiplies in int8."""

    name: str = "onnxruntime"

    def panel(self, queries: Vectors, offset: Floats) -> IntegerPanel:
        """Quantises the queries and hands them to ONNX Runtime as weights."""
        return IntegerPanel(RoundingError.of(queries, weight_levels()), offset)

    def rows(self, gallery: Vectors, offset: Floats) -> IntegerRows:
        """Quantises gallery rows, padded to whole groups by rows that nothing reaches."""
        rounded, n = RoundingError.of(gallery), len(gallery)
        padded = -(-n // GROUP) * GROUP
        values = np.full((padded, gallery.shape[1]), ZERO, np.uint8)
        np.add(rounded.values, ZERO, out=values[:n], dtype=np.int16, casting="unsafe")
        scale = np.zeros((padded, 1), np.float32)
        scale[:n, 0] = rounded.scale
        return IntegerRows(values, scale, offset, rounded.error, float(rounded.norm.max()))

    def room(self) -> int:
        """A quarter of it is taken from float32 rows, half of it from float16 rows."""
        return 2 << 30


@dataclass(frozen=True)
class IntegerRows:
    """Quantised gallery rows."""

    values: npt.NDArray[np.uint8]
    scale: Thin
    offset: Floats
    error: Floats
    norm: float


@dataclass(frozen=True)
class IntegerPanel:
    """A panel of queries as the weights of a small graph."""

    rounded: RoundingError
    offset: Floats

    @functools.cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return _session(self.rounded.values, self.rounded.scale)

    def block(self, rows: IntegerRows) -> ScaledBlock:
        """Scaled products with some gallery rows."""
        product, most = self._session.run(None, {"gallery": rows.values, "scale": rows.scale})
        queries = QuantisedSide.of(self.offset, self.rounded.error * rows.norm + SLACK)
        gallery = QuantisedSide.of(rows.offset, rows.error * self.rounded.norm.max())
        return ScaledBlock(product[: len(rows.offset)], most, gallery, queries)

    def survey(self, blocks: Iterable[IntegerRows], top_k: int, best_rows: bool) -> None:
        """None: on a CPU the product is what takes the time."""


@dataclass(frozen=True)
class ScaledBlock:
    """Rough products in memory."""

    product: Thin
    most: Thin  # (groups of gallery rows, queries)
    gallery: QuantisedSide
    queries: QuantisedSide

    def best_of_queries(self, k: int) -> Thin:
        """From the maxima of groups if there are enough of them: each is a pair of its own."""
        if k > len(self.product):
            return np.full(self.product.shape[1], -np.inf, np.float32)
        low = self._low_of_groups() if k <= len(self.most) else self.product + self.gallery.low[:, None]
        kth: Thin = np.partition(low, len(low) - k, axis=0)[len(low) - k] + self.queries.low
        return kth

    def best_of_rows(self) -> Thin:
        """The maximum of each row."""
        best: Thin = (self.product + self.queries.low[None]).max(1) + self.gallery.low
        return best

    def best_overall(self, n: int) -> float:
        """From the maxima of groups if there are enough of them."""
        if n > self.product.size:
            return -np.inf
        low = self._low_of_groups() if n <= self.most.size else self.product + self.gallery.low[:, None]
        return float(np.partition(low + self.queries.low[None], low.size - n, axis=None)[low.size - n])

    def reaching(self, row_floor: Thin, query_floor: Thin) -> tuple[Ints, Ints]:
        """Opens the groups whose maximum could reach."""
        least = np.minimum(query_floor[None], _by_group(row_floor, np.inf).min(1)[:, None])
        high = _by_group(self.gallery.high, -np.inf).max(1)[:, None] + self.queries.high[None]
        groups, q = np.nonzero(self.most + high >= least)
        g = (groups[:, None] * GROUP + np.arange(GROUP)[None]).ravel()
        q = np.repeat(q, GROUP)
        real = g < len(self.product)
        g, q = g[real], q[real]
        upper = self.product[g, q] + (self.gallery.high[g] + self.queries.high[q])
        reached = upper >= np.minimum(row_floor[g], query_floor[q])
        return g[reached], q[reached]

    def _low_of_groups(self) -> Thin:
        """A lower bound of the best pair of each group, the query's own part left out."""
        low: Thin = self.most + _by_group(self.gallery.low, np.inf).min(1)[:, None]
        if len(self.product) % GROUP:
            # Padding may hold the maximum of the last group.
            low[-1] = (self.product + self.gallery.low[:, None])[(len(self.most) - 1) * GROUP :].max(0)
        return low


def _by_group(values: Thin, padding: float) -> Thin:
    padded = np.full(-(-len(values) // GROUP) * GROUP, padding, np.float32)
    padded[: len(values)] = values
    return padded.reshape(-1, GROUP)


def _session(weights: npt.NDArray[np.int8], scale: Thin | None) -> onnxruntime.InferenceSession:
    """(rows, D) uint8 against ``weights`` (P, D); scaled, with the maxima of groups, unless ``scale`` is None."""
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
            helper.make_node("ReduceMax", ["groups", "axis"], ["most"], keepdims=0),
        ]
        constants |= {
            "query_scale": scale[None],
            "shape": np.array([-1, GROUP, n]),
            "axis": np.array([1]),
        }
        inputs.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["rows", 1]))
        outputs = [
            helper.make_tensor_value_info("product", TensorProto.FLOAT, ["rows", n]),
            helper.make_tensor_value_info("most", TensorProto.FLOAT, ["groups", n]),
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
    """How far query values may reach here without a 16-bit sum of two products saturating."""
    dims = 64
    gallery = np.full((GROUP, dims), 255, np.uint8)
    (dot,) = _session(np.full((GROUP, dims), WIDE, np.int8), None).run(None, {"gallery": gallery})
    return WIDE if (dot == (255 - ZERO) * WIDE * dims).all() else NARROW
