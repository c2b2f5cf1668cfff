"""An embedding model: aligned crops to unit vectors."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.choices import Device
from unveil.errors import ModelError
from unveil.faces.models import ModelSpec, load_model
from unveil.faces.models.table import model_table
from unveil.faces.onnx_model import CPU_BATCH, SECONDS_PER_BATCH, OnnxModel, Tensor
from unveil.faces.planes import normalised_planes

logger = logging.getLogger(__name__)

# dlib's ResNet quarters its image before the first block. Sixteen crops a call take 3% less time than four.
DLIB_CPU_BATCH = 16

Embeddings = npt.NDArray[np.float32]


class EmbeddingModel(OnnxModel):
    """A model with one image input and one vector output, and its description ``spec``.

    ``batch`` is the number of crops for one call. `embed` may be called from several threads.
    Raises ModelError if the graph does not fit its description.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: Device = "cpu",
        threads: int = 1,
        seconds_per_batch: float = SECONDS_PER_BATCH,
    ) -> None:
        self.spec: ModelSpec
        self.spec, weights = load_model(model)
        where = str(model) if model else self.spec.name
        super().__init__(weights, where, device=device, threads=threads, seconds_per_batch=seconds_per_batch)
        shape = (3, self.spec.input_size, self.spec.input_size)
        self._check_graph(shape)
        declared = self.inputs[0].shape[0]
        self._fixed_batch = declared if isinstance(declared, int) and declared > 1 else None
        self.batch = 1 if self._takes_one_image_only(shape) else self.best_batch(shape, self._cpu_batch())
        self._of_thread = threading.local()
        self._mean = np.asarray(self.spec.mean, np.float32)
        self._scale = (1 / np.asarray(self.spec.std, np.float32)).astype(np.float32)

    def _cpu_batch(self) -> int:
        return DLIB_CPU_BATCH if self.spec.alignment == "dlib150" else CPU_BATCH

    def _check_graph(self, shape: tuple[int, int, int]) -> None:
        where = self.where
        if len(self.inputs) != 1 or len(self.outputs) != 1 or len(self.inputs[0].shape) != 4:
            raise ModelError(
                f"{where}: an embedding model takes one image tensor (N, 3, S, S) and gives one vector; this graph has "
                f"inputs {[(i.name, list(i.shape)) for i in self.inputs]} and outputs {[o.name for o in self.outputs]}"
            )
        for axis, (declared, described) in enumerate(zip(self.inputs[0].shape[1:], shape, strict=True)):
            if isinstance(declared, int) and declared != described:
                raise ModelError(
                    f"{where} takes images (N, {', '.join(str(a) for a in self.inputs[0].shape[1:])}), its "
                    f"description gives (N, {', '.join(str(a) for a in shape)}): axis {axis + 1} differs"
                )
        width = self.outputs[0].shape[-1:]
        if width and isinstance(width[0], int) and width[0] != self.spec.dimension:
            raise ModelError(
                f"{where} gives vectors of {width[0]}, its description says {self.spec.dimension}: one of them is wrong"
            )

    def _takes_one_image_only(self, shape: tuple[int, int, int]) -> bool:
        """Whether a graph that declares any number of images runs with one alone, as many exporters leave it."""
        if isinstance(self.inputs[0].shape[0], int) or self.spec.sha256 in model_table():
            return False
        try:
            (vectors,) = self.run(np.zeros((2, *shape), np.float32))
            if vectors.shape[:1] == (2,):
                return False
        except ModelError:
            pass
        (vectors,) = self.run(np.zeros((1, *shape), np.float32))
        if vectors.shape != (1, self.spec.dimension):
            return False
        logger.warning("%s: its graph takes one image at a time, so images are embedded one by one", self.where)
        return True

    def embed(self, crops: npt.NDArray[np.uint8]) -> Embeddings:
        """Unit vectors (N, D) float32 of aligned crops (N, S, S, 3) uint8 RGB.

        A row of zeros marks a crop for which the model gave no finite, non-zero vector. Raises ModelError if the output
        does not fit the description.
        """
        size = self.spec.input_size
        if crops.shape[1:] != (size, size, 3):
            raise ValueError(f"crops should be (N, {size}, {size}, 3), got {crops.shape}")
        raw = np.zeros((len(crops), self.spec.dimension), np.float32)
        for i in range(0, len(crops), self.batch):
            raw[i : i + self.batch] = self._embed_batch(crops[i : i + self.batch])
        return unit_rows(raw)

    def _embed_batch(self, crops: npt.NDArray[np.uint8]) -> Embeddings:
        tensor = self._buffer(len(crops))
        normalised_planes(crops, self.spec.channels, self._mean, self._scale, tensor)
        (vectors,) = self.run(self._filled(tensor))
        vectors = vectors[: len(crops)] if self._fixed_batch is not None else vectors
        if vectors.shape != (len(crops), self.spec.dimension):
            raise ModelError(
                f"{self.spec.name} should give vectors of {self.spec.dimension}, gave an array {vectors.shape} for "
                f"{len(crops)}"
            )
        return vectors

    def _buffer(self, n: int) -> Tensor:
        """An input (N, 3, S, S) of this thread: touching new memory takes longer than the arithmetic."""
        size = self.spec.input_size
        held: Tensor | None = getattr(self._of_thread, "tensor", None)
        if held is None or len(held) < n:
            held = self._of_thread.tensor = np.empty((n, 3, size, size), np.float32)
        return held[:n]

    def _filled(self, tensor: Tensor) -> Tensor:
        """The inputs (N, 3, S, S), with the last one repeated up to the batch that the graph declares."""
        missing = 0 if self._fixed_batch is None else self._fixed_batch - len(tensor)
        return tensor if missing <= 0 else np.concatenate([tensor, np.repeat(tensor[-1:], missing, axis=0)])


def unit_rows(vectors: Embeddings) -> Embeddings:
    """Rows scaled to norm 1, with norms in float64. Rows that are zero or not finite become zero."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt((wide**2).sum(1))
    valid = np.isfinite(norms) & (norms > 1e-12)
    out = np.zeros_like(vectors)
    out[valid] = (wide[valid] / norms[valid, None]).astype(np.float32)
    return out
