"""dlib's face recognition ResNet as an ONNX graph.

The weights come with the PyPI package ``face_recognition_models`` (public domain). dlib's own forward pass is slow on
CPUs. The same model under ONNX Runtime gives the same descriptors (difference at most 4e-7) many times faster. The
package is never imported, because its ``__init__`` needs ``pkg_resources``; ``importlib.metadata`` finds its files.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unveil.errors import ModelError

if TYPE_CHECKING:
    import onnx

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
INPUT_SIZE = 150
DIMENSION = 128

# (channels, stride) of the residual blocks from the input upwards. A stride of 2 halves the image.
# Source: `anet_type` in dlib's dnn_face_recognition_ex.cpp.
BLOCKS = (
    *[(32, 1)] * 3,
    *[(64, 2), (64, 1), (64, 1), (64, 1)],
    *[(128, 2), (128, 1), (128, 1)],
    *[(256, 2), (256, 1), (256, 1)],
    (256, 2),
)

Array = npt.NDArray[np.float32]


def package_file(name: str) -> Path:
    """The path of a weight file in the installed package ``face_recognition_models``; ModelError if it is missing."""
    try:
        files = metadata.files("face_recognition_models") or []
    except metadata.PackageNotFoundError:
        raise ModelError(
            "the default model needs the package face_recognition_models, which is not installed; "
            "run `pip install face_recognition_models` or pass an ONNX file with --model"
        ) from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise ModelError(f"face_recognition_models is installed but holds no {name}; reinstall it")


class _TensorReader:
    """Reads the parameter tensors of a dlib model in file order, from the input layer upwards."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @staticmethod
    def _varint(value: int) -> bytes:
        raw = value.to_bytes((value.bit_length() + 7) // 8, "little")
        return bytes([len(raw)]) + raw

    def next_tensor(self, rows: int, columns: int = 1) -> Array:
        """The next tensor of ``rows`` x ``columns`` float32: version 2, four sizes, then the values."""
        header = b"\x01\x02" + b"".join(self._varint(n) for n in (rows, columns, 1, 1))
        start = self._data.find(header, self._offset)
        begin = start + len(header)
        end = begin + 4 * rows * columns
        if start < 0 or end > len(self._data):
            raise ModelError(
                f"dlib weights: no {rows} x {columns} tensor after byte {self._offset}; the file is damaged"
            )
        self._offset = end
        return np.frombuffer(self._data[begin:end], "<f4").reshape(rows, columns)


class _Graph:
    """Collects nodes and initialisers and names them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


def convert(weights: bytes) -> bytes:
    """Converts dlib's ``dlib_face_recognition_resnet_model_v1.dat`` to serialised ONNX.

    The graph takes ``input`` (N, 3, 150, 150) float32 RGB, normalised, and gives ``descriptor`` (N, 128) float32.
    Raises ModelError if the file does not hold the expected tensors.
    """
    import onnx
    from onnx import TensorProto, helper

    reader, graph = _TensorReader(weights), _Graph()

    def conv_affine(x: str, channels_in: int, channels: int, kernel: int, stride: int) -> str:
        """Convolution followed by dlib's `affine` (a frozen batch norm), folded into one convolution."""
        n = channels * channels_in * kernel * kernel
        parameters = reader.next_tensor(n + channels)[:, 0].astype(np.float64)
        gamma, beta = reader.next_tensor(2 * channels)[:, 0].astype(np.float64).reshape(2, channels)
        filters = parameters[:n].reshape(channels, channels_in, kernel, kernel) * gamma[:, None, None, None]
        bias = parameters[n:] * gamma + beta
        # dlib pads only where the stride is 1.
        pad = kernel // 2 if stride == 1 else 0
        return graph.node(
            "Conv",
            x,
            graph.constant(filters.astype(np.float32)),
            graph.constant(bias.astype(np.float32)),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def pad_to(x: str, before: tuple[int, int], after: tuple[int, int]) -> str:
        """Zero-pads (channels, side) at the end, as dlib's `add_prev` does for parts of unequal size."""
        if before == after:
            return x
        grow = [0, after[0] - before[0], after[1] - before[1], after[1] - before[1]]
        return graph.node("Pad", x, graph.constant(np.array([0, 0, 0, 0, *grow], np.int64)))

    x = graph.node("Relu", conv_affine("input", 3, 32, 7, 2))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, 35
    for width, stride in BLOCKS:
        inner = graph.node("Relu", conv_affine(x, channels, width, 3, stride))
        inner = conv_affine(inner, width, width, 3, 1)
        inner_side, skip_side = side, side
        if stride == 2:
            inner_side, skip_side = (side - 3) // 2 + 1, (side - 2) // 2 + 1
            x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        out = (max(width, channels), max(inner_side, skip_side))
        x = pad_to(x, (channels, skip_side), out)
        inner = pad_to(inner, (width, inner_side), out)
        x = graph.node("Relu", graph.node("Add", inner, x))
        channels, side = out
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    x = graph.node("MatMul", x, graph.constant(reader.next_tensor(channels, DIMENSION)))
    graph.nodes.append(helper.make_node("Identity", [x], ["descriptor"]))

    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, INPUT_SIZE, INPUT_SIZE])
    descriptor = helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["N", DIMENSION])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "dlib_resnet_v1", [image], [descriptor], graph.weights),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
        producer_name="unveil",
    )
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
