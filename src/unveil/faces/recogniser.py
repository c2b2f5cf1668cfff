"""A recognition network under ONNX Runtime. The only file that imports it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.errors import ModelError
from unveil.faces.models import ModelSpec, load_weights

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Embeddings = npt.NDArray[np.float32]


class Recogniser:
    """Turns aligned crops into unit vectors. Safe to call from several threads."""

    def __init__(self, model: Path | None = None, *, threads: int = 1) -> None:
        import onnxruntime as ort

        self.spec: ModelSpec
        self.spec, weights = load_weights(model)
        where = str(model) if model else self.spec.name
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # From bytes, so that a graph cannot pull in files from beside or outside its own.
            self._session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own kinds for damaged and hostile graphs
            raise ModelError(f"{where} cannot be loaded as an ONNX network: {str(error).splitlines()[0]}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelError(
                f"{where}: a face network takes one picture tensor (N, 3, S, S) and gives one vector; this graph has "
                f"inputs {[(i.name, i.shape) for i in inputs]} and outputs {[o.name for o in outputs]}"
            )
        self._input = inputs[0].name
        self._one_by_one = inputs[0].shape[0] == 1
        self._mean = np.asarray(self.spec.mean, np.float32)[:, None, None]
        self._scale = 1 / np.asarray(self.spec.std, np.float32)[:, None, None]

    def embed(self, crops: npt.NDArray[np.uint8]) -> Embeddings:
        """Unit vectors (N, D) float32 of aligned crops (N, S, S, 3) uint8 RGB.

        A row of zeros marks a crop for which the network gave no finite, non-zero vector. Raises ModelError when the
        graph does not fit its description.
        """
        spec, n = self.spec, len(crops)
        if crops.shape[1:] != (spec.input_size, spec.input_size, 3):
            raise ValueError(f"crops should be (N, {spec.input_size}, {spec.input_size}, 3), got {crops.shape}")
        if n == 0:
            return np.zeros((0, spec.dimension), np.float32)
        ordered = crops if spec.channels == "RGB" else crops[..., ::-1]
        tensor = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)
        tensor -= self._mean
        tensor *= self._scale
        parts = np.split(tensor, n) if self._one_by_one else [tensor]
        try:
            raw = np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts])
        except Exception as error:
            raise ModelError(f"{spec.name} does not run on {tensor.shape}: {str(error).splitlines()[0]}") from None
        if raw.shape != (n, spec.dimension):
            raise ModelError(f"{spec.name} should give vectors of {spec.dimension}, gave an array {raw.shape} for {n}")
        return unit_rows(raw.astype(np.float32))


def unit_rows(vectors: Embeddings) -> Embeddings:
    """Rows scaled to norm 1 (norms in float64); rows that are not finite or are zero become zero."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt((wide**2).sum(1))
    usable = np.isfinite(norms) & (norms > 1e-12)
    out = np.zeros_like(vectors)
    out[usable] = (wide[usable] / norms[usable, None]).astype(np.float32)
    return out
