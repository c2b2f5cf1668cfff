"""Immutable shards of embeddings.

A shard stores the result of one partition of a source: a row for each image, embedded or rejected, and the vectors of
the embedded images. Its key is a hash of the image bytes and of the recipe, which names everything else that decides a
vector. So equal images give the same shard to everyone, and a shard never changes. It contains no file name and no
person. The vectors are written first and the rows last: a shard without rows does not exist.

A key says which images a shard is of, not who made it: a store may come from a stranger. So each shard has a seal of
the user who wrote it, and shards of others are not used unless the user trusts them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unveil.errors import Stage, StoreError
from unveil.io.atomic import replacing
from unveil.io.checksums import SEAL, sealed, unsealed
from unveil.io.npy import parse_npy
from unveil.io.storage import LocalStorage, Storage
from unveil.types import Vectors

FORMAT = 4
# In the document of the rows: the seal of its checksum by the user's key.
OWNER = "seal"
# The largest README and rows, the first bytes of an array, and the values of the longest vector.
MAX_README_BYTES, MAX_ROWS_BYTES, MAX_HEADER_BYTES, MAX_DIMENSION = 2**16, 2**25, 2**16, 2**16

README = """\
Embeddings made by unveil. They are stored so that the next audit of the same images is fast.
They are biometric templates: protect them like the images. You can delete this folder at any time; finished audits do
not need it.
"""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """The result of one image: rejected at a stage, or embedded (``stage`` None).

    An embedded image has its quality features and the number of detected faces, and ``detail`` names
    its `Remark`s, separated by commas.
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
    """The shards of one recipe in a storage. Several processes may write; the last writer of a shard wins.

    Vectors of another ``dimension``, where one is given, are damaged. ``others`` are the keys of the shards that were
    found, are complete, and were not used because the key of the storage did not seal them.
    """

    def __init__(self, storage: Storage, recipe: str, dimension: int | None = None) -> None:
        self._storage, self._folder = storage, recipe[:24]
        self.recipe, self._dimension = recipe, dimension
        self.others: set[str] = set()
        if isinstance(storage, LocalStorage):
            storage.remove_stale_temp(self._folder)
        if storage.read("README.txt", MAX_README_BYTES) is None:
            storage.write("README.txt", README.encode())

    def key(self, digests: Iterable[str]) -> str:
        """The key of the partition whose images have these sha256 digests, in order."""
        return hashlib.sha256("\n".join([f"unveil shard {FORMAT}", self.recipe, *digests]).encode()).hexdigest()

    def _names(self, key: str) -> tuple[str, str]:
        stem = f"{self._folder}/{key[:2]}/{key}"
        return f"{stem}.npy", f"{stem}.json"

    def get(self, key: str) -> Shard | None:
        """A complete shard; None if there is none, if another user made it, or if it is damaged.

        A shard of another partition, or with vectors that are not finite, is damaged.
        """
        vectors_name, rows_name = self._names(key)
        data = self._storage.read(rows_name, MAX_ROWS_BYTES)
        if data is None:
            return None
        try:
            document = json.loads(data)
            own = isinstance(document, dict) and self._storage.key.accepts(
                document.pop(OWNER, None), _sealed_text(key, document)
            )
            if not own and not self._storage.key.trusts_others:
                if unsealed(document):
                    self.others.add(key)
                return None
            document = unsealed(document)
            rows = tuple(_parse_row(*row) for row in document["rows"])
            embedded = sum(row.stage is None for row in rows)
            raw = self._storage.read(vectors_name, MAX_HEADER_BYTES + 4 * embedded * MAX_DIMENSION)
            if raw is None or hashlib.sha256(raw).hexdigest() != document["vectors_sha256"]:
                return None
            shard = Shard(key, rows, parse_npy(raw, allow_empty=True))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return shard if self._belongs(shard, embedded) else None

    def _belongs(self, shard: Shard, embedded: int) -> bool:
        """Whether rows and vectors are those of the key."""
        vectors = shard.vectors
        fits = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == embedded
        if not fits or (self._dimension is not None and vectors.shape[1] != self._dimension):
            return False
        return bool(np.isfinite(vectors).all()) and self.key(row.digest for row in shard.rows) == shard.key

    def require(self, key: str) -> Shard:
        """A complete shard. Raises StoreError if it is missing or damaged, or if another user replaced it."""
        shard = self.get(key)
        if shard is None and key in self.others:
            raise StoreError(
                f"{self._storage.where}: another user replaced shard {key[:16]} during this run. Name a --store of "
                "your own, or add --trust-store if you trust everybody who can write there"
            )
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
        document = sealed(
            {
                "vectors_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
                "rows": [[r.digest, r.stage, r.reason, r.detail, r.quality, r.n_faces] for r in rows],
            }
        )
        document[OWNER] = self._storage.key.seal(_sealed_text(shard.key, document))
        self._storage.write(rows_name, json.dumps(document).encode())
        return shard


def _sealed_text(key: str, document: Mapping[str, object]) -> str:
    """What the seal of a shard is of: its key, and the checksum of its rows and vectors."""
    return f"shard {key} {document.get(SEAL)}"


def _parse_row(
    digest: str, stage: Stage | None, reason: str, detail: str, quality: list[float], n_faces: int
) -> ShardRow:
    return ShardRow(digest, stage, reason, detail, tuple(float(v) for v in quality), int(n_faces))


def write_vectors(blocks: Iterable[Vectors], n: int, dimension: int, path: Path) -> Vectors:
    """Writes blocks of vectors to one ``.npy`` file, atomically; returns it memory-mapped, (n, dimension) float32.

    Raises StoreError if the blocks do not have ``n`` rows in all, or vectors of another dimension.
    """
    header = io.BytesIO()
    shape: dict[str, object] = {"descr": "<f4", "fortran_order": False, "shape": (n, dimension)}
    np.lib.format.write_array_header_1_0(header, shape)
    written = 0
    with replacing(path) as file:
        file.write(header.getvalue())
        for vectors in blocks:
            if vectors.shape[1:] != (dimension,):
                raise StoreError(f"{path}: vectors of {dimension} values were expected, got the shape {vectors.shape}")
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            written += len(vectors)
        if written != n:
            raise StoreError(f"{path}: {n} vectors were expected, got {written}")
    if n == 0:
        return np.zeros((0, dimension), np.float32)
    mapped: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
