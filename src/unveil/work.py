"""What one worker runs: a partition of a source through a channel into a shard."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError

import numpy as np

from unveil.channels import Channel
from unveil.channels.alignment import Alignment
from unveil.errors import PictureError, SourceError
from unveil.images import Source, decode_rgb
from unveil.store import Shard, ShardRow, ShardStore
from unveil.types import ImageRecord, Vectors

PARTITION = 512  # pictures a shard: small enough that a kill costs seconds
BATCH = 32  # crops a network call
KEPT_BYTES = 64 * 2**20  # of pictures a partition keeps in memory between hashing and decoding


def recipe(channel: Channel, alignment: Alignment) -> str:
    """A hash of everything but the pictures that decides the vectors of a source."""
    return hashlib.sha256(f"{channel.model_id} aligned={alignment.key}".encode()).hexdigest()


def embed_partition(
    source: Source,
    records: Sequence[ImageRecord],
    *,
    channel: Channel,
    alignment: Alignment,
    store: ShardStore,
    stop: threading.Event,
) -> tuple[Shard, bool]:
    """The shard of these records, and whether it was there already.

    Every record becomes a row of the shard: embedded, or rejected with stage and reason. Ends with CancelledError when
    ``stop`` is set.
    """
    kept: dict[int, bytes] = {}
    room = KEPT_BYTES
    rows: list[ShardRow] = []
    for i, record in enumerate(records):
        _go_on(stop)
        try:
            data = source.read(record)
        except PictureError as error:
            rows.append(ShardRow(f"unreadable: {error.reason}", error.stage, error.reason, error.detail))
            continue
        rows.append(ShardRow(hashlib.sha256(data).hexdigest()))
        if len(data) <= room:
            kept[i] = data
            room -= len(data)
    found = store.get(store.key(row.digest for row in rows))
    if found is not None:
        return found, True

    vectors: list[Vectors] = []
    waiting: list[int] = []
    crops: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []

    def flush() -> None:
        if not crops:
            return
        block = channel.embed(np.stack(crops))
        good = np.asarray(block.any(axis=1), np.bool_)
        for i, ok in zip(waiting, good, strict=True):
            if not ok:
                rows[i] = ShardRow(rows[i].digest, "embed", "no usable vector", "the network gave zero or non-finite")
        vectors.append(block[good])
        waiting.clear()
        crops.clear()

    for i, record in enumerate(records):
        _go_on(stop)
        if rows[i].stage is not None:
            continue
        data = kept.pop(i, b"") or _read_again(source, record, rows[i].digest)
        try:
            picture = decode_rgb(data)
            crops.append(channel.crop(picture, alignment.covers(picture)))
        except PictureError as error:
            rows[i] = ShardRow(rows[i].digest, error.stage, error.reason, error.detail)
        else:
            waiting.append(i)
            if len(crops) == BATCH:
                flush()
    flush()
    block = np.concatenate([np.zeros((0, channel.dimension), np.float32), *vectors])
    return store.put(rows, block), False


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise CancelledError


def _read_again(source: Source, record: ImageRecord, digest: str) -> bytes:
    try:
        data = source.read(record)
    except PictureError as error:
        raise SourceError(f"{record.id} could be read once but not again ({error.reason}); run again") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise SourceError(f"{record.id} changed while it was being read; run again when the files are at rest")
    return data
