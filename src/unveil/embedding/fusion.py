"""Several face models as one: a pair must be similar by all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unveil.compare import exact_cosine
from unveil.embedding.shards import write_vectors
from unveil.types import Embedded, Floats, Ints, ModelPart, Vectors

# Pairs of different synthetic images from which the spread of a model's cosines is estimated.
SAMPLE = 20_000
CHUNK = 8192


def model_weights(synthetic: Sequence[Embedded], rng: np.random.Generator) -> tuple[float, ...]:
    """The weight of each model's cosine, the inverse of its standard deviation; the weights sum to 1.

    Estimated on pairs of different synthetic images, so that neither training nor control people influence it.
    """
    spreads = []
    for embedded in synthetic:
        a, b = rng.integers(len(embedded), size=(2, SAMPLE))
        different = a != b
        cosine = exact_cosine(embedded.vectors, embedded.vectors, a[different], b[different])
        spreads.append(max(float(cosine.std()) if len(cosine) else 1.0, 1e-6))
    inverse = 1 / np.array(spreads)
    return tuple(float(w) for w in inverse / inverse.sum())


def fuse(models: Sequence[Embedded], names: Sequence[str], weights: Sequence[float], path: Path) -> Embedded:
    """Vectors whose cosines are the weighted mean of the models' cosines, in a file at ``path``.

    This is the sum rule (Kittler et al. 1998, doi:10.1109/34.667881). The vectors (N, sum of D) float32 are those of
    the models, concatenated and each scaled by the square root of its weight. They are unit rows.
    """
    dimensions = [model.vectors.shape[1] for model in models]
    ends = np.cumsum(dimensions)
    parts = tuple(
        ModelPart(name, slice(int(end - dimension), int(end)), weight)
        for name, dimension, end, weight in zip(names, dimensions, ends, weights, strict=True)
    )
    n = len(models[0])

    def blocks() -> Iterator[Vectors]:
        for start in range(0, n, CHUNK):
            yield concatenate_weighted([model.vectors[start : start + CHUNK] for model in models], weights)

    vectors = write_vectors(blocks(), n, int(ends[-1]), path)
    facts = [f"{model.model_id} {w:.12g}" for model, w in zip(models, weights, strict=True)]
    model_id = hashlib.sha256(" + ".join(facts).encode()).hexdigest()
    recipe = " ".join(model.recipe for model in models)
    return replace(models[0], vectors=vectors, model_id=model_id, parts=parts, recipe=recipe)


def concatenate_weighted(vectors: Sequence[Vectors], weights: Sequence[float]) -> Vectors:
    """Unit rows (N, sum of D) from the unit rows (N, D) of each model, scaled by the square root of its weight."""
    scaled = [block * np.float32(np.sqrt(weight)) for block, weight in zip(vectors, weights, strict=True)]
    return np.concatenate(scaled, axis=1)


def part_cosines(synthetic: Embedded, real: Embedded, queries: Ints, rows: Ints) -> Floats:
    """The cosine of each model for pairs (M,), as an array (M, models). A single model gives one column."""
    parts = synthetic.parts or (ModelPart("", slice(None), 1.0),)
    return np.column_stack(
        [
            np.einsum(
                "nd,nd->n",
                synthetic.vectors[queries][:, part.columns].astype(np.float64),
                real.vectors[rows][:, part.columns].astype(np.float64),
            )
            / part.weight
            for part in parts
        ]
    )
