"""A recognition network: aligned crops to unit vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.choices import Device
from unveil.errors import ModelError
from unveil.faces.models import ModelSpec, load_weights
from unveil.faces.onnx_model import OnnxModel

Embeddings = npt.NDArray[np.float32]


class EmbeddingModel:
    """Turns aligned crops into unit vectors. Safe to call from several threads."""

    def __init__(self, model: str | Path | None = None, *, device: Device = "cpu", threads: int = 1) -> None:
        self.spec: ModelSpec
        self.spec, weights = load_weights(model)
        where = str(model) if model else self.spec.name
        self.network = network = OnnxModel(weights, where, device=device, threads=threads)
        if len(network.inputs) != 1 or len(network.outputs) != 1 or len(network.inputs[0].shape) != 4:
            raise ModelError(
                f"{where}: a face network takes one picture tensor (N, 3, S, S) and gives one vector; this graph has "
                f"inputs {[(i.name, list(i.shape)) for i in network.inputs]} and outputs "
                f"{[o.name for o in network.outputs]}"
            )
        shape = (3, self.spec.input_size, self.spec.input_size)
        for axis, (takes, gets) in enumerate(zip(network.inputs[0].shape[1:], shape, strict=True)):
            if isinstance(takes, int) and takes != gets:
                raise ModelError(
                    f"{where} takes pictures (N, {', '.join(str(a) for a in network.inputs[0].shape[1:])}), its "
                    f"description gives (N, {', '.join(str(a) for a in shape)}): axis {axis + 1} differs"
                )
        gives = network.outputs[0].shape[-1:]
        if gives and isinstance(gives[0], int) and gives[0] != self.spec.dimension:
            raise ModelError(
                f"{where} gives vectors of {gives[0]}, its description says {self.spec.dimension}: one of them is wrong"
            )
        self.batch = network.best_batch(shape)
        self._mean = np.asarray(self.spec.mean, np.float32)
        self._scale = 1 / np.asarray(self.spec.std, np.float32)

    def embed(self, crops: npt.NDArray[np.uint8]) -> Embeddings:
        """Unit vectors (N, D) float32 of aligned crops (N, S, S, 3) uint8 RGB.

        A row of zeros marks a crop for which the network gave no finite, non-zero vector. Raises ModelError when the
        graph does not fit its description.
        """
        size = self.spec.input_size
        if crops.shape[1:] != (size, size, 3):
            raise ValueError(f"crops should be (N, {size}, {size}, 3), got {crops.shape}")
        raw = np.zeros((len(crops), self.spec.dimension), np.float32)
        for i in range(0, len(crops), self.batch):
            part = crops[i : i + self.batch]
            raw[i : i + self.batch] = self._vectors(part)
        return unit_rows(raw)

    def _vectors(self, crops: npt.NDArray[np.uint8]) -> Embeddings:
        ordered = crops if self.spec.channels == "RGB" else crops[..., ::-1]
        # Planes one by one: a third of the time of a transposition.
        tensor = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
        for plane in range(3):
            np.subtract(ordered[..., plane], self._mean[plane], out=tensor[:, plane], dtype=np.float32)
            tensor[:, plane] *= self._scale[plane]
        (vectors,) = self.network.run(tensor)
        if vectors.shape != (len(crops), self.spec.dimension):
            raise ModelError(
                f"{self.spec.name} should give vectors of {self.spec.dimension}, gave an array {vectors.shape} for "
                f"{len(crops)}"
            )
        return vectors


def unit_rows(vectors: Embeddings) -> Embeddings:
    """Rows scaled to norm 1 (norms in float64); rows that are not finite or are zero become zero."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt((wide**2).sum(1))
    usable = np.isfinite(norms) & (norms > 1e-12)
    out = np.zeros_like(vectors)
    out[usable] = (wide[usable] / norms[usable, None]).astype(np.float32)
    return out
