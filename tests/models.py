"""Small models in ONNX form, made for tests: embedding models that average pixels, detectors of bright spots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.builders import write
from unveil.faces.align import ARCFACE_TEMPLATE
from unveil.faces.models.spec import DESCRIPTION_EXAMPLE

DETECTOR = """\
name = "spots"
detector = "{family}"
channels = "{channels}"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
"""
# Half the side of the box of a spot, in units of the grid's stride.
HALF = 4.0


def small_model(
    size: int = 112, dimension: int = 4, *, outputs: int = 1, batch: int | str = "N", counting: bool = False
) -> bytes:
    """An ONNX graph that averages pixels and multiplies by a matrix.

    With ``counting`` the shape of the output is unknown before it runs.
    """
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(3, dimension)).astype(np.float32), "w")
    last = "product" if counting else "y0"
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [last]),
        *[helper.make_node("Identity", ["y0"], [f"y{i}"]) for i in range(1, outputs)],
    ]
    if counting:
        nodes += [
            helper.make_node("NonZero", [last], ["at"]),
            helper.make_node("Cast", ["at"], ["y0"], to=TensorProto.FLOAT),
        ]
    shape = None if counting else [batch, dimension]
    return _serialised(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, shape) for i in range(outputs)],
        [weights],
    )


def impure_model(fault: str, dimension: int = 4) -> bytes:
    """A model that is no function of one image: of ``chance`` or of its ``batch``; or one that takes ``one`` image.

    A ``sum`` over the batch leaves a single image as it is, so that only a batch shows it.
    """
    weights = [numpy_helper.from_array(np.random.default_rng(0).normal(size=(588, dimension)).astype(np.float32), "w")]
    nodes = [helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8])]
    flatten = helper.make_node("Flatten", ["pooled"], ["flat"])
    if fault == "one":
        weights.append(numpy_helper.from_array(np.array([1, 588]), "shape"))
        flatten = helper.make_node("Reshape", ["pooled", "shape"], ["flat"])
    nodes += [flatten, helper.make_node("MatMul", ["flat", "w"], ["y"])]
    nodes += {
        "chance": [
            helper.make_node("RandomNormalLike", ["y"], ["noise"], scale=0.5),
            helper.make_node("Add", ["y", "noise"], ["z"]),
        ],
        "batch": [
            helper.make_node("ReduceMean", ["y"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["y", "mean"], ["z"]),
        ],
        "sum": [helper.make_node("ReduceSum", ["y"], ["s"], keepdims=1), helper.make_node("Add", ["y", "s"], ["z"])],
        "one": [helper.make_node("Identity", ["y"], ["z"])],
    }[fault]
    return _serialised(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", dimension])],
        weights,
    )


def described_model(folder: Path, weights: bytes, **changes: str) -> Path:
    """A model file with a description beside it; ``changes`` replace lines of the description."""
    model = write(folder / "net.onnx", weights)
    lines = DESCRIPTION_EXAMPLE.replace("dimension = 512", "dimension = 4").splitlines()
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} ") else line for line in lines]
    write(folder / "net.toml", "\n".join(lines))
    return model


def spot_detector(
    folder: Path,
    family: str = "yunet",
    *,
    side: int | None = None,
    channels: str = "BGR",
    bias: Mapping[str, float] | None = None,
) -> Path:
    """A detector that finds a face around the corner of each white cell, with its description.

    ``side`` fixes the image size as OpenCV Zoo's file does. ``bias`` is added to all values of one kind of output.
    """
    anchors = 2 if family == "scrfd" else 1
    kinds = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10} if family == "yunet" else {"cls": 1, "bbox": 4, "kps": 10}
    points = ((ARCFACE_TEMPLATE - 56) / 56 * HALF).ravel()
    box = [0, 0, np.log(2 * HALF), np.log(2 * HALF)] if family == "yunet" else [HALF] * 4
    nodes, weights, outputs = [], [], []

    def constant(name: str, values: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    for kind, width in kinds.items():
        shape = constant(f"shape_{kind}", np.array([1, -1, width] if family == "yunet" else [-1, width], np.int64))
        filters = np.zeros((anchors * width, 3, 1, 1), np.float32)
        if kind in ("cls", "obj"):
            # Only one anchor of a cell detects, and blue has the largest weight, so that the order of channels matters.
            filters[0, :, 0, 0] = [0.7 / 255, 0.15 / 255, 0.15 / 255]
        offset = {"bbox": box, "kps": points}.get(kind, np.zeros(width))
        add = np.tile(np.asarray(offset, np.float32) + np.float32((bias or {}).get(kind, 0)), anchors)
        w, b = constant(f"w_{kind}", filters), constant(f"b_{kind}", add)
        for stride in (8, 16, 32):
            at = f"{kind}_{stride}"
            nodes += [
                helper.make_node("MaxPool", ["x"], [f"p_{at}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                helper.make_node("Conv", [f"p_{at}", w, b], [f"c_{at}"], kernel_shape=[1, 1]),
                helper.make_node("Transpose", [f"c_{at}"], [f"t_{at}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{at}", shape], [at]),
            ]
            n = None if side is None else anchors * (side // stride) ** 2
            declared = [1, n, width] if family == "yunet" else [n, width]
            outputs.append(helper.make_tensor_value_info(at, TensorProto.FLOAT, declared))
    input_shape = [1, 3, side or "H", side or "W"]
    data = _serialised(nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)], outputs, weights)
    write(folder / "spots.toml", DETECTOR.format(family=family, channels=channels))
    return write(folder / "spots.onnx", data)


def _serialised(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
