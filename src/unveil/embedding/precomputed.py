"""Precomputed embeddings in place of images: reading them for an audit, and writing them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unveil.channels.alignment import ImageAlignment
from unveil.embedding.embed import EXCLUDED, EmbeddedSource, collect, records_sha256
from unveil.embedding.shards import ShardRow, write_vectors
from unveil.errors import SourceError
from unveil.faces.models import ModelSpec
from unveil.images import EmbeddingSource
from unveil.io.atomic import replacing
from unveil.io.npy import text_array
from unveil.types import ChannelVectors, Vectors

CHUNK = 8192
# How far from 1 the norm of a float32 unit vector may be.
NORM_TOLERANCE = 1e-5
UNKNOWN_MODEL = "an unknown model"


def read_precomputed(source: EmbeddingSource, path: Path, exclude: frozenset[str] = frozenset()) -> EmbeddedSource:
    """The vectors of a source, scaled to unit length, in a file at ``path``.

    Rows that are zero or not finite are rejects. Images with ids in ``exclude`` are left out.
    """
    vectors = source.vectors
    dimension = vectors.shape[1]
    rows = list(_rows(vectors))
    if exclude:
        rows = [EXCLUDED if record.id in exclude else row for record, row in zip(source.records, rows, strict=True)]
    embedded = np.array([row.stage is None for row in rows], np.bool_)

    def scaled() -> Iterator[Vectors]:
        for i, block in enumerate(_blocks(vectors)):
            chosen = block[embedded[i * CHUNK : (i + 1) * CHUNK]]
            norm = np.linalg.norm(chosen, axis=1, keepdims=True)
            # Unit vectors stay as they are, to the last bit.
            yield np.asarray(np.where(np.abs(norm - 1) < NORM_TOLERANCE, chosen, chosen / norm), np.float32)

    written = write_vectors(scaled(), int(embedded.sum()), dimension, path)
    view = ChannelVectors("face", written, source.model or UNKNOWN_MODEL)
    return collect(source, rows, [view], ImageAlignment(None, "precomputed embeddings"))


def vectors_sha256(source: EmbeddingSource, excluded: frozenset[str] = frozenset()) -> str:
    """The hash of the ids, people and vectors of a source, as `unveil.embedding.embed.collect` makes it."""
    pairs = zip(source.records, _rows(source.vectors), strict=True)
    return records_sha256((record, row.digest or row.reason) for record, row in pairs if record.id not in excluded)


def _rows(vectors: Vectors) -> Iterator[ShardRow]:
    """A row for each vector; one that is zero or not finite is a reject."""
    for block in _blocks(vectors):
        valid = np.isfinite(block).all(1) & (np.linalg.norm(block, axis=1) > 0)
        for vector, ok in zip(block, valid, strict=True):
            if ok:
                yield ShardRow(hashlib.sha256(vector.tobytes()).hexdigest())
            else:
                yield ShardRow("", "embed", "no usable vector", "zero or not finite")


def _blocks(vectors: Vectors) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    for start in range(0, len(vectors), CHUNK):
        yield np.asarray(vectors[start : start + CHUNK], np.float64)


def check_one_model(precomputed: Iterable[EmbeddingSource], model: ModelSpec | None) -> str:
    """The name of the model of all precomputed embeddings, and of the images beside them, which ``model`` embeds.

    Raises SourceError if the embeddings are not of one model.
    """
    sources = list(precomputed)
    model_ids = {source.model for source in sources if source.model}
    dimensions = {source.vectors.shape[1] for source in sources} | ({model.dimension} if model else set())
    if len(dimensions) > 1:
        raise SourceError(
            f"embeddings of one model were expected, got vectors of {' and '.join(str(d) for d in sorted(dimensions))} "
            "values; embed all sets with the same model"
        )
    if model is not None:
        other = [source.where for source in sources if source.model not in (model.name, model.model_id)]
        if other:
            raise SourceError(
                f"{other[0]}: embeddings of {model.name} were expected, which embeds the images of the other sets, and "
                f"the file does not name it. If they are, write embeddings,model={model.name}:{other[0]}"
            )
        return model.name
    if len(model_ids) > 1:
        raise SourceError(
            f"embeddings of one model were expected, got {' and '.join(sorted(model_ids))}; embed all sets with the "
            "same model"
        )
    return next((source.model_name for source in sources if source.model_name), UNKNOWN_MODEL)


def write_embeddings_file(source: EmbeddedSource, path: Path) -> None:
    """Writes embeddings to a ``.npz`` file that an audit reads in place of images: vectors, ids, people, model.

    Raises SourceError if ids or people are too long for an array.
    """
    embedded = source.embedded
    try:
        ids, people = text_array(embedded.ids), text_array([person or "" for person in embedded.people])
    except ValueError as error:
        raise SourceError(f"ids and people: {error}") from None
    with replacing(path) as file:
        np.savez(
            file,
            vectors=np.asarray(embedded.vectors),
            ids=ids,
            people=people,
            model_id=np.array(embedded.model_id),
            model_name=np.array(source.model_name),
        )
