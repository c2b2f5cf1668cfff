"""Immutable shards of embeddings.

A shard stores the result of one partition of a source: a row for each image, embedded or rejected, and the vectors of
the embedded images. Its key is a hash of the image bytes and of the recipe, which names everything else that decides a
vector. So equal images give the same shard to everyone, and a shard never changes. It contains no file name and no
person. The vectors are written first and the rows last: a shard without rows does not exist.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unveil.errors import Stage, StoreError
from unveil.io.atomic import replacing
from unveil.io.checksums import sealed, unsealed
from unveil.io.npy import parse_npy
from unveil.io.storage import LocalStorage, Storage
from unveil.types import Vectors

FORMAT = 4

README = """\
Embeddings made by unveil. They are stored so that the next audit of the same images is fast.
They are biometric templates: protect them like the images. You can delete this folder at any time; finished audits do
not need it.
"""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """The result of one image: rejected at a stage, or embedded (``stage`` None).

    An embedded image has its quality features and the number of detected faces.
    """

    digest: str
    stage: Stage | None = None
    reason: str = ""
    detail: str = ""
    quality: tuple[float, ...] = ()
    n_faces: int = 1


@dataclass(frozen=True)
class Shard:
    """One partition: ``rows`` in source order, and ``vectors`` (n embedded, D) float32 in the same order."""

    key: str
    rows: tuple[ShardRow, ...]
    vectors: Vectors


class ShardStore:
    """The shards of one recipe in a storage. Several processes may write; the last writer of a shard wins."""

    def __init__(self, storage: Storage, recipe: str) -> None:
        self._storage, self._folder = storage, recipe[:24]
        self.recipe = recipe
        if isinstance(storage, LocalStorage):
            storage.remove_stale_temp(self._folder)
        if storage.read("README.txt") is None:
            storage.write("README.txt", README.encode())

    def key(self, digests: Iterable[str]) -> str:
        """The key of the partition whose images have these sha256 digests, in order."""
        return hashlib.sha256("\n".join([f"unveil shard {FORMAT}", self.recipe, *digests]).encode()).hexdigest()

    def _names(self, key: str) -> tuple[str, str]:
        stem = f"{self._folder}/{key[:2]}/{key}"
        return f"{stem}.npy", f"{stem}.json"

    def get(self, key: str) -> Shard | None:
        """A complete shard; None if there is none, or if its rows or vectors are damaged or of another partition."""
        vectors_name, rows_name = self._names(key)
        rows = self._storage.read(rows_name)
        raw = None if rows is None else self._storage.read(vectors_name)
        if rows is None or raw is None:
            return None
        try:
            document = unsealed(json.loads(rows))
            if hashlib.sha256(raw).hexdigest() != document["vectors_sha256"]:
                return None
            shard = Shard(key, tuple(_parse_row(*row) for row in document["rows"]), parse_npy(raw, allow_empty=True))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return shard if self._belongs(shard) else None

    def _belongs(self, shard: Shard) -> bool:
        """Whether rows and vectors are those of the key."""
        embedded = sum(row.stage is None for row in shard.rows)
        fits = shard.vectors.dtype == np.float32 and shard.vectors.ndim == 2 and len(shard.vectors) == embedded
        return fits and self.key(row.digest for row in shard.rows) == shard.key

    def require(self, key: str) -> Shard:
        """A complete shard. Raises StoreError if it is missing or damaged."""
        shard = self.get(key)
        if shard is None:
            raise StoreError(
                f"shard {key[:16]} in {self._storage.where} is missing or damaged; run again to compute it again"
            )
        return shard

    def put(self, rows: Sequence[ShardRow], vectors: Vectors) -> Shard:
        """Writes a shard and returns it. Raises StoreError if the rows do not match the vectors."""
        embedded = sum(row.stage is None for row in rows)
        if embedded != len(vectors):
            raise StoreError(f"{embedded} images are marked as embedded, but there are {len(vectors)} vectors")
        shard = Shard(self.key(row.digest for row in rows), tuple(rows), vectors)
        vectors_name, rows_name = self._names(shard.key)
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors))
        self._storage.write(vectors_name, buffer.getvalue())
        document = {
            "vectors_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "rows": [[r.digest, r.stage, r.reason, r.detail, r.quality, r.n_faces] for r in rows],
        }
        self._storage.write(rows_name, json.dumps(sealed(document)).encode())
        return shard


def _parse_row(
    digest: str, stage: Stage | None, reason: str, detail: str, quality: list[float], n_faces: int
) -> ShardRow:
    return ShardRow(digest, stage, reason, detail, tuple(float(v) for v in quality), int(n_faces))


def write_vectors(blocks: Iterable[Vectors], n: int, dimension: int, path: Path) -> Vectors:
    """Writes blocks of vectors to one ``.npy`` file, atomically; returns it memory-mapped, (n, dimension) float32.

    Raises StoreError if the blocks do not have ``n`` rows in all.
    """
    header = io.BytesIO()
    shape: dict[str, object] = {"descr": "<f4", "fortran_order": False, "shape": (n, dimension)}
    np.lib.format.write_array_header_1_0(header, shape)
    written = 0
    with replacing(path) as file:
        file.write(header.getvalue())
        for vectors in blocks:
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            written += len(vectors)
        if written != n:
            raise StoreError(f"{path}: {n} vectors were expected, got {written}")
    if n == 0:
        return np.zeros((0, dimension), np.float32)
    mapped: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
