"""Whether a model is a function of one image: the same vector again, whatever else is in its batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unveil.errors import ModelError
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.models.table import model_table

# Cosine of the vectors of one image. Rounding in batches of other sizes leaves more than 0.99999.
MIN_COSINE = 0.999
# Images that are embedded alone, twice, and together in two orders and in a batch larger than those of an audit.
IMAGES, LARGE_BATCH = 3, 17


def check_model(model: EmbeddingModel) -> None:
    """`check_function_of_one_image`, unless the table of models knows the file."""
    if model.spec.sha256 not in model_table():
        check_function_of_one_image(model)


def check_function_of_one_image(model: EmbeddingModel) -> None:
    """Raises ModelError if the vector of an image depends on chance or on the other images of its batch.

    That is so if a model was exported while it was trained, with dropout or batch statistics on.
    """
    crops = _crops(model.spec.input_size)
    alone = np.concatenate([model.embed(crop[None]) for crop in crops])
    again = np.concatenate([model.embed(crop[None]) for crop in crops])
    if (cosine := _lowest_cosine(alone, again)) < MIN_COSINE:
        raise _refusal(model, f"chance: the same image gives vectors of cosine {cosine:.3f}")
    together, reversed_order = model.embed(crops), model.embed(crops[::-1])[::-1]
    many = np.arange(LARGE_BATCH) % IMAGES
    cosine = min(
        _lowest_cosine(alone, together),
        _lowest_cosine(alone, reversed_order),
        _lowest_cosine(alone[many], model.embed(crops[many])),
    )
    if cosine < MIN_COSINE:
        raise _refusal(model, f"the other images of its batch: alone and among others, cosine {cosine:.3f}")


def _refusal(model: EmbeddingModel, reason: str) -> ModelError:
    return ModelError(
        f"{model.where}: expected the vector of an image to depend on that image alone, found that it depends on "
        f"{reason}. Export the model for inference, without dropout and batch statistics (model.eval())"
    )


def _lowest_cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The lowest cosine of rows (N, D). Rows of zeros have no direction and agree with each other."""
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    return float(np.where(both_zero, 1.0, (one * other).sum(axis=1)).min())


def _crops(side: int) -> npt.NDArray[np.uint8]:
    """Smooth images (IMAGES, side, side, 3) uint8 that differ, the same ones each time."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (IMAGES, 8, 8, 3), np.uint8)
    rows = np.arange(side) * 8 // side
    return np.ascontiguousarray(coarse[:, rows][:, :, rows])
