"""Embeddings that are given instead of pictures, and those that are written to be given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unveil.channels import FaceChannel
from unveil.channels.alignment import ImageAlignment
from unveil.embedding.embed import EXCLUDED, EmbeddedSource, collect, embed
from unveil.embedding.shards import ShardRow, assemble
from unveil.errors import SourceError
from unveil.images import EmbeddingSource
from unveil.io.atomic import replacing
from unveil.progress import Progress
from unveil.types import ChannelVectors, Vectors

CHUNK = 8192
# How far from 1 the length of float32 unit vectors may lie.
UNIT = 1e-5
UNKNOWN = "a network that is not told"


def take_precomputed(source: EmbeddingSource, path: Path, without: frozenset[str] = frozenset()) -> EmbeddedSource:
    """The vectors of a source, scaled to length 1, in ``path``; rows that have no direction are rejects, those of
    ``without`` are left out."""
    given = source.vectors
    dimension = given.shape[1]
    rows: list[ShardRow] = []
    for block in _blocks(given):
        usable = np.isfinite(block).all(1) & (np.linalg.norm(block, axis=1) > 0)
        rows += [
            ShardRow(hashlib.sha256(vector.tobytes()).hexdigest())
            if good
            else ShardRow("", "embed", "no usable vector", "zero, or not finite")
            for vector, good in zip(block, usable, strict=True)
        ]
    if without:
        rows = [EXCLUDED if record.id in without else row for record, row in zip(source.records, rows, strict=True)]
    good = np.array([row.stage is None for row in rows], np.bool_)

    def scaled() -> Iterator[Vectors]:
        for i, block in enumerate(_blocks(given)):
            some = block[good[i * CHUNK : (i + 1) * CHUNK]]
            length = np.linalg.norm(some, axis=1, keepdims=True)
            # What has length 1 already stays as it is, to the last bit.
            yield np.asarray(np.where(np.abs(length - 1) < UNIT, some, some / length), np.float32)

    vectors = assemble(scaled(), int(good.sum()), dimension, path)
    view = ChannelVectors("face", vectors, source.model or UNKNOWN)
    return collect(source, rows, [view], ImageAlignment(None, "embeddings are given, not pictures"))


def _blocks(vectors: Vectors) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    for start in range(0, len(vectors), CHUNK):
        yield np.asarray(vectors[start : start + CHUNK], np.float64)


def check_one_model(given: Iterable[EmbeddingSource], embeds: tuple[str, str, int] | None) -> str:
    """The network of all given embeddings, and of the pictures beside them: ``embeds`` its name, model_id, dimension.

    SourceError when they are not comparable.
    """
    sources = list(given)
    told = {source.model for source in sources if source.model}
    widths = {source.vectors.shape[1] for source in sources} | ({embeds[2]} if embeds else set())
    if len(widths) > 1:
        raise SourceError(
            f"embeddings of {' and '.join(str(w) for w in sorted(widths))} numbers are of different networks"
        )
    if embeds is not None:
        name, model_id, _ = embeds
        strange = [source.where for source in sources if source.model not in (name, model_id)]
        if strange:
            raise SourceError(
                f"{strange[0]}: nothing says that these embeddings are of {name}, which embeds the pictures beside "
                f"them; if they are, say embeddings,model={name}:{strange[0]}"
            )
        return name
    if len(told) > 1:
        raise SourceError(f"embeddings of different networks cannot be compared: {' and '.join(sorted(told))}")
    return next((source.network for source in sources if source.network), UNKNOWN)


def embed_to_file(
    place: str,
    out: Path,
    *,
    model: str | Path | None = None,
    detector: str | Path = "dlib",
    device: str = "auto",
    labels: str = "auto",
    aligned: str = "auto",
    store: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> EmbeddedSource:
    """Embeds the pictures of a place by one face network and writes them with `write_given`; InputErrors as `embed`."""
    found = embed(
        place,
        model=model,
        detector=detector,
        device=device,
        labels=labels,
        aligned=aligned,
        store=store,
        workers=workers or 0,
        progress=progress,
    )
    write_embeddings_file(found, FaceChannel(model).spec.name, out)
    return found


def write_embeddings_file(found: EmbeddedSource, name: str, path: Path) -> None:
    """Embeddings as a ``.npz`` that an audit takes in place of the pictures: vectors, ids, people, model."""
    embedded = found.embedded
    with replacing(path) as file:
        np.savez(
            file,
            vectors=np.asarray(embedded.vectors),
            ids=np.array(embedded.ids),
            people=np.array([person or "" for person in embedded.people]),
            model_id=np.array(embedded.model_id),
            network=np.array(name),
        )
