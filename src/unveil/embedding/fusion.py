"""Several face networks as one: a pair must convince all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unveil.compare import exact_cosine
from unveil.embedding.shards import assemble
from unveil.types import Embedded, Floats, Ints, ModelPart, Vectors

# Pairs of different synthetic pictures whose cosines tell how widely a network spreads them.
SAMPLE = 20_000
CHUNK = 8192


def model_weights(synthetic: Sequence[Embedded], rng: np.random.Generator) -> tuple[float, ...]:
    """The weight of each network's cosine, so that all spread alike; they sum to 1.

    Measured on pairs of different synthetic pictures, so that neither training nor control people decide it.
    """
    widths = []
    for embedded in synthetic:
        a, b = rng.integers(len(embedded), size=(2, SAMPLE))
        apart = a != b
        cosine = exact_cosine(embedded.vectors, embedded.vectors, a[apart], b[apart])
        widths.append(max(float(cosine.std()) if len(cosine) else 1.0, 1e-6))
    inverse = 1 / np.array(widths)
    return tuple(float(w) for w in inverse / inverse.sum())


def fuse(networks: Sequence[Embedded], names: Sequence[str], weights: Sequence[float], path: Path) -> Embedded:
    """One set of vectors whose cosines are the weighted mean of the networks' (the sum rule, Kittler et al. 1998,
    doi:10.1109/34.667881).

    Vectors (N, sum of D) are the networks' side by side, each scaled by the root of its weight, so they are unit rows
    and comparison stays exact.
    """
    widths = [network.vectors.shape[1] for network in networks]
    ends = np.cumsum(widths)
    parts = tuple(
        ModelPart(name, slice(int(end - width), int(end)), weight)
        for name, width, end, weight in zip(names, widths, ends, weights, strict=True)
    )
    n = len(networks[0])

    def blocks() -> Iterator[Vectors]:
        for start in range(0, n, CHUNK):
            yield side_by_side([network.vectors[start : start + CHUNK] for network in networks], weights)

    vectors = assemble(blocks(), n, int(ends[-1]), path)
    facts = [f"{network.model_id} {w:.12g}" for network, w in zip(networks, weights, strict=True)]
    model_id = hashlib.sha256(" + ".join(facts).encode()).hexdigest()
    return replace(networks[0], vectors=vectors, model_id=model_id, parts=parts)


def side_by_side(vectors: Sequence[Vectors], weights: Sequence[float]) -> Vectors:
    """Unit rows (N, sum of D) of the networks' unit rows (N, D), each scaled by the root of its weight."""
    scaled = [block * np.float32(np.sqrt(weight)) for block, weight in zip(vectors, weights, strict=True)]
    return np.concatenate(scaled, axis=1)


def part_cosines(synthetic: Embedded, real: Embedded, queries: Ints, rows: Ints) -> Floats:
    """Each network's own cosine of pairs (M,): (M, networks); a single network gives one column."""
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
