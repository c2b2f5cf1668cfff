"""What one worker runs: a partition of a source through the channels, into a shard for each."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass

import numpy as np

from unveil.channels import Channel, Shot, traits_of
from unveil.channels.alignment import Alignment
from unveil.channels.base import Picture
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
    """What became of some records of a source: for each channel a row a record, and the key of the shard with the
    vectors. ``reused`` when no picture had to be looked at."""

    keys: tuple[str, ...]
    rows: tuple[tuple[ShardRow, ...], ...]
    reused: bool


def embed_partition(
    source: Source,
    records: Sequence[ImageRecord],
    *,
    channels: Sequence[Channel],
    alignment: Alignment,
    stores: Sequence[ShardStore],
    stop: threading.Event,
    advance: Callable[[int], None],
) -> Partition:
    """Embeds records into a shard a channel, unless the channel's store has it already.

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

    found = [store.get(store.key(digests.values())) for store in stores]
    missing = [i for i, shard in enumerate(found) if shard is None]
    if missing:
        made = embed_pictures(digests.values(), pictures(), [channels[i] for i in missing], alignment)
        for i, (rows, vectors) in zip(missing, made, strict=True):
            found[i] = stores[i].put(rows, vectors)
    advance(len(records) - (len(digests) // BATCH * BATCH if missing else 0))
    shards = [shard for shard in found if shard is not None]
    of_picture = [dict(zip(digests, shard.rows, strict=True)) for shard in shards]
    return Partition(
        tuple(shard.key for shard in shards),
        tuple(tuple(unread[i] if i in unread else rows[i] for i in range(len(records))) for rows in of_picture),
        not missing,
    )


def embed_pictures(
    digests: Iterable[str], pictures: Iterable[bytes], channels: Sequence[Channel], alignment: Alignment
) -> list[tuple[list[ShardRow], Vectors]]:
    """For each channel a row a picture, and the vectors (n, D) of those that were embedded.

    A picture is decoded once, and its face looked for once, for all channels.
    """
    ways = [_Way(channel) for channel in channels]
    for digest, data in zip(digests, pictures, strict=True):
        try:
            picture = decode_rgb(data)
            shot = Shot(picture, alignment.covers(picture))
            # A picture without a face is of no use to any channel.
            traits = traits_of(shot)
        except PictureError as error:
            for way in ways:
                way.reject(digest, error)
        else:
            for way in ways:
                way.take(digest, shot, traits)
    return [way.done() for way in ways]


class _Way:
    """One channel's rows and vectors, made in batches."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rows: list[ShardRow] = []
        self._vectors: list[Vectors] = [np.zeros((0, channel.dimension), np.float32)]
        self._waiting: list[int] = []
        self._crops: list[Picture] = []

    def reject(self, digest: str, error: PictureError) -> None:
        self._rows.append(ShardRow(digest, error.stage, error.reason, error.detail))

    def take(self, digest: str, shot: Shot, traits: tuple[float, ...]) -> None:
        try:
            crop = self._channel.crop(shot)
        except PictureError as error:
            self.reject(digest, error)
            return
        self._crops.append(crop)
        self._waiting.append(len(self._rows))
        self._rows.append(ShardRow(digest, traits=traits))
        if len(self._crops) == BATCH:
            self._flush()

    def done(self) -> tuple[list[ShardRow], Vectors]:
        self._flush()
        return self._rows, np.concatenate(self._vectors)

    def _flush(self) -> None:
        if not self._crops:
            return
        block = self._channel.embed(np.stack(self._crops))
        good = np.asarray(block.any(axis=1), np.bool_)
        for i, ok in zip(self._waiting, good, strict=True):
            if not ok:
                digest = self._rows[i].digest
                self._rows[i] = ShardRow(
                    digest, "embed", "no usable vector", f"the {self._channel.name} channel gave zero or non-finite"
                )
        self._vectors.append(block[good])
        self._waiting.clear()
        self._crops.clear()


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
