"""Immutable shards of embeddings.

A shard holds what became of one partition of a source: the vectors of the pictures that were embedded, and a row for
each picture, embedded or rejected. Its key is a hash of the picture bytes and of everything that decides a vector, so
the same pictures give the same shard for whoever asks, and a shard is never changed. It names no file and no person.
Vectors are written first, the rows last: a shard without its rows does not exist.
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
from unveil.io.storage import LocalStorage, Storage
from unveil.types import Vectors

FORMAT = 4

README = """\
Embeddings made by unveil, kept so that the next audit of the same pictures is quick.
They are biometric templates: treat them like the pictures themselves. Delete this folder whenever you like; audits
that are finished do not need it.
"""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """What became of one picture: rejected at a stage, or embedded (``stage`` empty) with the traits of its quality and
    the number of faces that were seen."""

    digest: str
    stage: Stage | None = None
    reason: str = ""
    detail: str = ""
    quality: tuple[float, ...] = ()
    n_faces: int = 1


@dataclass(frozen=True)
class Shard:
    """One partition: ``rows`` in source order, ``vectors`` (n embedded, D) in the same order."""

    key: str
    rows: tuple[ShardRow, ...]
    vectors: Vectors


class ShardStore:
    """The shards of one recipe (model and alignment) in a storage. Writers may be many; the last one wins."""

    def __init__(self, storage: Storage, recipe: str) -> None:
        self._storage, self._folder = storage, recipe[:24]
        self.recipe = recipe
        if isinstance(storage, LocalStorage):
            storage.remove_stale_temp(self._folder)
        if storage.read("README.txt") is None:
            storage.write("README.txt", README.encode())

    def key(self, digests: Iterable[str]) -> str:
        """The key of the partition whose pictures have these sha256 digests, in order."""
        return hashlib.sha256("\n".join([f"unveil shard {FORMAT}", self.recipe, *digests]).encode()).hexdigest()

    def _names(self, key: str) -> tuple[str, str]:
        stem = f"{self._folder}/{key[:2]}/{key}"
        return f"{stem}.npy", f"{stem}.json"

    def get(self, key: str) -> Shard | None:
        """A finished shard, or None when there is none or its bytes are not what was written."""
        vectors_name, rows_name = self._names(key)
        told = self._storage.read(rows_name)
        raw = None if told is None else self._storage.read(vectors_name)
        if told is None or raw is None:
            return None
        try:
            document = json.loads(told)
            if hashlib.sha256(raw).hexdigest() != document["vectors_sha256"]:
                return None
            vectors = np.load(io.BytesIO(raw), allow_pickle=False)
            return Shard(key, tuple(_row(*row) for row in document["rows"]), vectors)
        except (ValueError, KeyError, TypeError):
            return None

    def require(self, key: str) -> Shard:
        """A finished shard; StoreError when it is gone or damaged."""
        shard = self.get(key)
        if shard is None:
            raise StoreError(f"shard {key[:16]} in {self._storage.where} is gone or damaged; run again to make it anew")
        return shard

    def put(self, rows: Sequence[ShardRow], vectors: Vectors) -> Shard:
        """Writes a shard; returns it."""
        embedded = sum(row.stage is None for row in rows)
        if embedded != len(vectors):
            raise StoreError(f"{embedded} pictures marked as embedded, {len(vectors)} vectors")
        shard = Shard(self.key(row.digest for row in rows), tuple(rows), vectors)
        vectors_name, rows_name = self._names(shard.key)
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors))
        self._storage.write(vectors_name, buffer.getvalue())
        document = {
            "vectors_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "rows": [[r.digest, r.stage, r.reason, r.detail, r.quality, r.n_faces] for r in rows],
        }
        self._storage.write(rows_name, json.dumps(document).encode())
        return shard


def _row(digest: str, stage: Stage | None, reason: str, detail: str, quality: list[float], n_faces: int) -> ShardRow:
    return ShardRow(digest, stage, reason, detail, tuple(float(v) for v in quality), int(n_faces))


def assemble(shards: Iterable[Vectors], n: int, dimension: int, path: Path) -> Vectors:
    """All vectors of a role, (n, dimension) float32 in one memory-mapped ``.npy`` file, written at once."""
    header = io.BytesIO()
    shape: dict[str, object] = {"descr": "<f4", "fortran_order": False, "shape": (n, dimension)}
    np.lib.format.write_array_header_1_0(header, shape)
    written = 0
    with replacing(path) as file:
        file.write(header.getvalue())
        for vectors in shards:
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            written += len(vectors)
        if written != n:
            raise StoreError(f"{path}: {n} vectors were expected, {written} came")
    if n == 0:
        return np.zeros((0, dimension), np.float32)
    mapped: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
