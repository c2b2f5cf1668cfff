"""Precomputed embeddings in place of images: reading them for an audit, and writing them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from unveil.channels.alignment import ImageAlignment
from unveil.columns import Texts
from unveil.embedding.embed import EmbeddedSource, ImageRows, collect, excluded_rows, records_sha256
from unveil.embedding.shards import ShardRow, write_vectors
from unveil.errors import SourceError
from unveil.faces.models import ModelSpec
from unveil.images import EmbeddingSource
from unveil.images.readers.embeddings import MAX_REASON, REASONS
from unveil.io.atomic import replacing
from unveil.io.npy import text_array
from unveil.io.output_file import OutputKind
from unveil.types import ChannelVectors, Floats, Reject, Vectors

CHUNK = 8192
# Vectors that are measured at a time: in double precision they stay in the cache.
MEASURED = 512
# How far from 1 the norm of a float32 unit vector may be.
NORM_TOLERANCE = 1e-5
# A shorter vector cannot be scaled.
MIN_NORM = 1e-150
UNKNOWN_MODEL = "an unknown model"
# The arrays in a file of embeddings, in their order.
ARRAYS = ("vectors", "ids", "people", "model_id", "model_name", REASONS)
# The row of a vector whose length is zero, not finite or below `MIN_NORM`.
UNUSABLE = ShardRow("", "embed", "no usable vector", "its length is zero, or out of range")


def read_precomputed(source: EmbeddingSource, path: Path, exclude: frozenset[str] = frozenset()) -> EmbeddedSource:
    """The vectors of a source, scaled to unit length, in a file at ``path``.

    Rows whose length is zero, not finite or below MIN_NORM are rejects. Images with ids in ``exclude`` are left out.
    """
    vectors, excluded = source.vectors, excluded_rows(source, exclude)
    content, norms = _measured(vectors)
    usable = norms > 0
    usable[excluded] = False
    rejected = norms <= 0
    rejected[excluded] = False

    def scaled() -> Iterator[Vectors]:
        for start in range(0, len(vectors), CHUNK):
            block, chosen = vectors[start : start + CHUNK], usable[start : start + CHUNK]
            block = block if chosen.all() else block[chosen]
            norm = norms[start : start + CHUNK][chosen, None]
            unit = np.abs(norm - 1) < NORM_TOLERANCE
            if not unit.all():
                # Unit vectors stay as they are, to the last bit.
                wide = np.asarray(block, np.float64)
                block = np.where(unit, wide, wide / norm)
            yield np.asarray(block, np.float32)

    written = write_vectors(scaled(), int(usable.sum()), vectors.shape[1], path)
    view = ChannelVectors("face", written, source.model or UNKNOWN_MODEL)
    reasons = source.reasons
    rejects = {row: _unusable(reasons.get(row)) for row in np.flatnonzero(rejected).tolist()}
    rows = ImageRows(*(content, np.flatnonzero(usable), rejects, excluded))
    return collect(source, rows, [view], ImageAlignment(None, "precomputed embeddings"))


def _why(reject: Reject) -> str:
    """Why an image has no vector, as one text."""
    return (f"{reject.stage}: {reject.reason}" + (f" ({reject.detail})" if reject.detail else ""))[:MAX_REASON]


def _unusable(reason: str | None) -> ShardRow:
    return UNUSABLE if not reason else ShardRow("", "embed", "no vector", f"rejected before: {reason}")


def vectors_sha256(source: EmbeddingSource, excluded: frozenset[str] = frozenset()) -> str:
    """The hash of the ids, people and vectors of a source, as `unveil.embedding.embed.collect` makes it."""
    return records_sha256(source.records, _measured(source.vectors)[0], excluded_rows(source, excluded))


def vector_digest(source: EmbeddingSource, row: int) -> str:
    """The digest of one vector of a source, as an audit stores it."""
    return _measured(source.vectors[row : row + 1])[0][0]


def _measured(vectors: Vectors) -> tuple[Texts, Floats]:
    """The content (N,) of each vector, a digest, and its norm (N,). That of a vector that cannot be used is 0."""
    norms = np.zeros(len(vectors))

    def contents() -> Iterator[Texts]:
        for start in range(0, len(vectors), MEASURED):
            block = np.ascontiguousarray(vectors[start : start + MEASURED], np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                norm = np.linalg.norm(block, axis=1)
            # The squares of smaller numbers are no longer exact.
            norm[~np.isfinite(norm) | (norm < MIN_NORM)] = 0
            norms[start : start + len(block)] = norm
            data, size = block.reshape(-1).view(np.uint8).data, block.itemsize * block.shape[1]
            digests = [hashlib.sha256(data[at : at + size]).hexdigest() for at in range(0, len(data), size)]
            for i in np.flatnonzero(norm == 0):
                digests[i] = UNUSABLE.reason
            yield Texts(digests)

    return Texts.joined(contents()), norms


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


def _is_embeddings_file(file: BufferedReader) -> bool:
    with zipfile.ZipFile(file) as archive:
        return archive.namelist() == [f"{name}.npy" for name in ARRAYS]


EMBEDDINGS = OutputKind("a file of unveil embed", _is_embeddings_file)


def write_embeddings_file(source: EmbeddedSource, path: Path) -> None:
    """Writes embeddings to a ``.npz`` file that an audit reads in place of images: vectors, ids, people, model.

    Rejects are in it as last rows of zeros, each with a reason, so that an audit counts them. Raises SourceError if
    texts are too long for an array.
    """
    embedded = source.embedded
    try:
        ids = text_array([*embedded.ids, *(reject.id for reject in source.rejects)])
        people = text_array([person or "" for person in (*embedded.people, *source.rejected_people)])
        reasons = text_array([_why(reject) for reject in source.rejects])
    except ValueError as error:
        raise SourceError(f"ids and people: {error}") from None
    vectors = np.asarray(embedded.vectors)
    if source.rejects:
        vectors = np.concatenate([vectors, np.zeros((len(source.rejects), vectors.shape[1]), np.float32)])
    with replacing(path) as file:
        arrays = (vectors, ids, people, embedded.model_id, source.model_name, reasons)
        named: dict[str, Any] = dict(zip(ARRAYS, map(np.asarray, arrays), strict=True))
        np.savez(file, **named)
