"""What a graph would cost, as far as the graph itself states it, before it is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.errors import ModelError

# The largest published face models have a few thousand nodes, and constants of a few hundred megabytes.
MAX_NODES, MAX_CONSTANT_BYTES = 200_000, 2**30
# Values of a constant that states a shape.
MAX_SHAPE_VALUES = 64
VALUE_BYTES = 4


def check_graph_size(weights: bytes, where: str) -> None:
    """Raises ModelError for a graph of too many nodes, functions included, or of arrays that are too large.

    A function may call another twice, and so on: forty of them are a billion nodes. Of arrays, those are known whose
    shape is constant.
    """
    import onnx

    try:
        model = onnx.load_from_string(weights)
    except Exception as error:
        raise ModelError(f"{where} cannot be loaded as an ONNX model: {str(error)[:300]}") from None
    functions = {(function.domain, function.name): function for function in model.functions}
    n = _Nodes(functions, where).count(model.graph.node)
    if n > MAX_NODES:
        raise ModelError(
            f"{where}: expected at most {MAX_NODES:,} nodes with those of its functions, found {_number(n)}. Export "
            "the model again without functions that repeat each other"
        )
    for graph in (model.graph, *model.functions):
        _check_arrays(graph, where)


class _Nodes:
    """Counts nodes; each function is looked at once."""

    def __init__(self, functions: Mapping[tuple[str, str], Any], where: str) -> None:
        self._functions, self._where = functions, where
        self._counted: dict[tuple[str, str], int | None] = {}

    def count(self, nodes: Any) -> int:
        """The nodes in these with those of their branches and functions."""
        try:
            return sum(self._count(node) for node in nodes)
        except RecursionError:
            raise ModelError(f"{self._where}: expected an ONNX model, found functions without an end") from None

    def _count(self, node: Any) -> int:
        inner = [graph for value in node.attribute for graph in (value.g, *value.graphs)]
        return 1 + sum(self.count(graph.node) for graph in inner) + self._of_function((node.domain, node.op_type))

    def _of_function(self, key: tuple[str, str]) -> int:
        if key not in self._functions:
            return 0
        if key not in self._counted:
            self._counted[key] = None
            self._counted[key] = self.count(self._functions[key].node)
        found = self._counted[key]
        if found is None:
            raise ModelError(
                f"{self._where}: expected an ONNX model, found a function that calls itself ({key[1][:80]!r})"
            )
        return found


def _check_arrays(graph: Any, where: str) -> None:
    constants = _constants(graph)
    for node in graph.node:
        n = _values(node.op_type, [constants.get(name) for name in node.input])
        if n * VALUE_BYTES > MAX_CONSTANT_BYTES:
            raise ModelError(
                f"{where}: expected arrays of at most {MAX_CONSTANT_BYTES // 2**20:,} MiB, found one of "
                f"{_number(n)} values ({node.op_type}). Export the model again without it"
            )


def _values(operator: str, inputs: list[npt.NDArray[Any] | None]) -> float:
    """How many values a node makes at least; 0 where constants do not tell."""
    first, second, third, fourth = (*inputs, None, None, None, None)[:4]
    if operator == "ConstantOfShape":
        return _product(first)
    if operator in ("Expand", "Tile"):
        return _product(second)
    if operator == "Range" and first is not None and second is not None and third is not None:
        start, end, step = (float(value.reshape(-1)[0]) if value.size else 0.0 for value in (first, second, third))
        return (end - start) / step if step and math.isfinite((end - start) / step) else 0.0
    if operator == "Resize":
        return max(_product(third), _product(fourth))
    return _product(second) if operator == "Upsample" else 0.0


def _product(shape: npt.NDArray[Any] | None) -> float:
    return 0.0 if shape is None or not shape.size else math.prod(float(value) for value in shape.reshape(-1))


def _constants(graph: Any) -> dict[str, npt.NDArray[Any]]:
    """The small constants of a graph or a function by name."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
    found: dict[str, npt.NDArray[Any]] = {}
    for node in graph.node:
        for value in node.attribute if node.op_type == "Constant" and node.output else ():
            if value.name == "value":
                tensors[node.output[0]] = value.t
            elif value.name in ("value_ints", "value_floats"):
                numbers = value.ints if value.name == "value_ints" else value.floats
                found[node.output[0]] = np.array(numbers[:MAX_SHAPE_VALUES])
    for name, tensor in tensors.items():
        if math.prod(tensor.dims) <= MAX_SHAPE_VALUES and not tensor.external_data:
            try:
                found[name] = np.asarray(numpy_helper.to_array(tensor))
            except Exception:  # a damaged tensor is reported when the graph is opened  # noqa: S112
                continue
    return {name: values for name, values in found.items() if values.dtype.kind in "iuf"}


def _number(n: float) -> str:
    return f"{n:,.0f}" if n < 1e12 else "more than a trillion"
