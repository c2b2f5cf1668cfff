"""What one worker runs: a partition of a source through a channel into a shard."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass

import numpy as np

from unveil.channels import Channel, traits_of
from unveil.channels.alignment import Alignment
from unveil.errors import PictureError, SourceError
from unveil.images import Source, decode_rgb
from unveil.store import ShardRow, ShardStore
from unveil.types import ImageRecord, Vectors

PARTITION = 512  # pictures a shard: small enough that a kill costs seconds
BATCH = 32  # crops a network call
KEPT_BYTES = 64 * 2**20  # of pictures a partition keeps in memory between hashing and decoding


def recipe(channel: Channel, alignment: Alignment) -> str:
    """A hash of everything but the pictures that decides the vectors of a source."""
    return hashlib.sha256(f"{channel.model_id} aligned={alignment.key}".encode()).hexdigest()


@dataclass(frozen=True)
class Partition:
    """What became of some records of a source: a row each, and the key of the shard with the vectors."""

    key: str
    rows: tuple[ShardRow, ...]
    reused: bool


def embed_partition(
    source: Source,
    records: Sequence[ImageRecord],
    *,
    channel: Channel,
    alignment: Alignment,
    store: ShardStore,
    stop: threading.Event,
    advance: Callable[[int], None],
) -> Partition:
    """Embeds records into a shard, unless the store has it already.

    Every record becomes a row: embedded, or rejected with stage and reason. Files that cannot be read are no part of
    the shard, which is about picture bytes alone. ``advance`` is told how many records are done since the last time.
    Ends with CancelledError when ``stop`` is set.
    """
    kept: dict[int, bytes] = {}
    room = KEPT_BYTES
    digests: dict[int, str] = {}
    unread: dict[int, ShardRow] = {}
    for i, record in enumerate(records):
        _go_on(stop)
        try:
            data = source.read(record)
        except PictureError as error:
            unread[i] = ShardRow("", error.stage, error.reason, error.detail)
            continue
        digests[i] = hashlib.sha256(data).hexdigest()
        if len(data) <= room:
            kept[i] = data
            room -= len(data)

    def pictures() -> Iterator[bytes]:
        for n, (i, digest) in enumerate(digests.items(), start=1):
            _go_on(stop)
            yield kept.pop(i) if i in kept else _read_again(source, records[i], digest)
            if n % BATCH == 0:
                advance(BATCH)

    found = store.get(store.key(digests.values()))
    shard = found or store.put(*embed_pictures(digests.values(), pictures(), channel, alignment))
    advance(len(records) - (0 if found else len(digests) // BATCH * BATCH))
    of_picture = dict(zip(digests, shard.rows, strict=True))
    return Partition(
        shard.key, tuple(unread[i] if i in unread else of_picture[i] for i in range(len(records))), found is not None
    )


def embed_pictures(
    digests: Iterable[str], pictures: Iterable[bytes], channel: Channel, alignment: Alignment
) -> tuple[list[ShardRow], Vectors]:
    """A row for each picture, and the vectors (n, D) of those that were embedded."""
    rows: list[ShardRow] = []
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

    for digest, data in zip(digests, pictures, strict=True):
        try:
            picture = decode_rgb(data)
            crop = channel.crop(picture, alignment.covers(picture))
        except PictureError as error:
            rows.append(ShardRow(digest, error.stage, error.reason, error.detail))
        else:
            crops.append(crop)
            waiting.append(len(rows))
            rows.append(ShardRow(digest, traits=traits_of(picture, crop)))
            if len(crops) == BATCH:
                flush()
    flush()
    return rows, np.concatenate([np.zeros((0, channel.dimension), np.float32), *vectors])


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
