"""Pictures through the channels, into shards. What one machine does of an audit's longest part.

Reading and hashing run ahead; what is not in the store yet is cut into pieces of one network call each, which threads
decode, detect, align and embed, each from end to end, so that none waits for another; shards are put together in order.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from unveil.channels import Channel, Detector, FaceImage, quality_features
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ImageArray
from unveil.embedding.shards import Shard, ShardRow, ShardStore
from unveil.engine import map_ordered
from unveil.errors import ImageError, SourceError
from unveil.images import Source, decode_rgb, decode_scaled
from unveil.types import ImageRecord, Vectors

PARTITION = 512  # pictures a shard: small enough that a kill costs seconds
PIECE = 16  # pictures that a thread takes at a time, at least
POISONED = ImageError("decode", "ends the decoder", "every process that looked at it ended")
QUEUE_BYTES = 32 * 2**20  # of pictures a partition keeps in memory between hashing and decoding
READERS = 2  # partitions that are read and hashed at a time
# Both sides keep so many pixels when a JPEG is decoded at reduced scale: aligned crops twice the template, photographs
# enough for a face across a quarter of them to need no enlarging.
CROP_DETAIL, PHOTOGRAPH_DETAIL = 224, 480


@dataclass(frozen=True)
class ImagePreprocessor:
    """How pictures are looked at: through which channels, which of them are aligned crops, and by which detector."""

    channels: Sequence[Channel]
    alignment: ImageAlignment
    detector: Detector

    def recipe(self, channel: Channel) -> str:
        """A hash of everything but the pictures that decides the vectors of one channel."""
        facts = f"{channel.model_id} aligned={self.alignment.key}"
        if self.alignment.sides is not None and self.detector.key != "dlib":
            facts += f" detector={self.detector.key}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def decode(self, data: bytes) -> FaceImage:
        """A picture, decoded at the scale that it needs; PictureError when it is none."""

        def keeps(width: int, height: int) -> int:
            return CROP_DETAIL if self.alignment.covers(width, height) else PHOTOGRAPH_DETAIL

        image, size = decode_scaled(data, keeps)
        reduced = image.shape[0] * image.shape[1] < size[0] * size[1]
        return FaceImage(
            image,
            self.alignment.covers(*size),
            self.detector,
            whole=partial(decode_rgb, data) if reduced else None,
            size=size,
        )


@dataclass(frozen=True)
class Partition:
    """What became of some records of a source: for each channel a row a record, and the key of the shard with the
    vectors. ``reused`` when no picture had to be looked at."""

    keys: tuple[str, ...]
    rows: tuple[tuple[ShardRow, ...], ...]
    reused: bool


def split_records(records: Sequence[ImageRecord], size: int) -> list[Sequence[ImageRecord]]:
    """Records as partitions of ``size``, each of which becomes a shard."""
    return [records[i : i + size] for i in range(0, len(records), size)]


@dataclass(frozen=True)
class _Read:
    """Records whose bytes were hashed: digests of those that could be read, rows for the others, shards that exist."""

    records: Sequence[ImageRecord]
    digests: dict[int, str]
    unread: dict[int, ShardRow]
    kept: dict[int, bytes]
    found: list[Shard | None]


@dataclass
class _Piece:
    """Some pictures of a partition, and what each channel that has no shard made of them."""

    read: _Read
    rows: Sequence[int]  # which of its records
    last: bool
    made: list[tuple[list[ShardRow], Vectors]] = field(default_factory=list)


def embed_partitions(
    source: Source,
    partitions: Sequence[Sequence[ImageRecord]],
    way: ImagePreprocessor,
    stores: Sequence[ShardStore],
    workers: int,
    advance: Callable[[int], None] = lambda n: None,
    poisoned: frozenset[str] = frozenset(),
    looking: Callable[[str], None] = lambda id: None,
) -> Generator[Partition, None, None]:
    """Embeds records into a shard a channel for each partition, in order, unless the channel's store has it already.

    Every record becomes a row: embedded, or rejected with stage and reason; those whose ids are ``poisoned`` are known
    to end the process and are rejected unseen. Files that cannot be read are no part of a shard, which is about picture
    bytes alone. ``advance`` is told how many records are done since the last time, ``looking`` the id of each picture
    before it is decoded.
    Raises SourceError when a picture changes while it is read.
    """
    size = max(PIECE, *(channel.batch for channel in way.channels))
    no_more_reading, no_more = threading.Event(), threading.Event()
    reads = map_ordered(
        partial(_read, source, stores=stores, stop=no_more_reading), partitions, READERS, no_more_reading
    )
    pieces = (piece for read in reads for piece in _pieces(read, size))
    embedded = map_ordered(
        partial(_embed, source, way=way, stop=no_more, poisoned=poisoned, looking=looking), pieces, workers, no_more
    )
    done: list[_Piece] = []
    with contextlib.closing(reads), contextlib.closing(embedded):
        for piece in embedded:
            done.append(piece)
            advance(len(piece.rows))
            if piece.last:
                yield _put_together(done, way, stores)
                advance(len(piece.read.records) - sum(len(one.rows) for one in done))
                done = []


def _read(source: Source, records: Sequence[ImageRecord], stores: Sequence[ShardStore], stop: threading.Event) -> _Read:
    read = _Read(records, {}, {}, {}, [])
    room = QUEUE_BYTES
    for i, record in enumerate(records):
        _keep_decoding(stop)
        try:
            data = source.read(record)
        except ImageError as error:
            read.unread[i] = ShardRow("", error.stage, error.reason, error.detail)
            continue
        read.digests[i] = hashlib.sha256(data).hexdigest()
        if len(data) <= room:
            read.kept[i] = data
            room -= len(data)
    read.found.extend(store.get(store.key(read.digests.values())) for store in stores)
    if None not in read.found:
        read.kept.clear()
    return read


def _pieces(read: _Read, size: int) -> Iterator[_Piece]:
    """The pictures that have to be looked at; one empty piece when there are none."""
    rows = list(read.digests) if None in read.found else []
    for start in range(0, max(1, len(rows)), size):
        yield _Piece(read, rows[start : start + size], last=start + size >= len(rows))


def _embed(
    source: Source,
    piece: _Piece,
    way: ImagePreprocessor,
    stop: threading.Event,
    poisoned: frozenset[str],
    looking: Callable[[str], None],
) -> _Piece:
    """One piece from bytes to vectors. A picture is decoded once, and its face looked for once, for all channels."""
    channels = [channel for channel, shard in zip(way.channels, piece.read.found, strict=True) if shard is None]
    lines = [_Line(channel) for channel in channels] if piece.rows else []
    for i in piece.rows:
        _keep_decoding(stop)
        digest = piece.read.digests[i]
        if piece.read.records[i].id in poisoned:
            for line in lines:
                line.reject(digest, POISONED)
            continue
        data = piece.read.kept.pop(i, None)
        if data is None:
            data = _read_again(source, piece.read.records[i], digest)
        looking(piece.read.records[i].id)
        _take(lines, digest, partial(way.decode, data))
    piece.made.extend(line.done() for line in lines)
    return piece


def probe_images(source: Source, records: Sequence[ImageRecord], way: ImagePreprocessor) -> None:
    """Does with pictures what embedding does, one by one, and keeps nothing."""
    for record in records:
        try:
            data = source.read(record)
        except ImageError:
            continue
        embed_images([partial(way.decode, data)], way.channels)


def embed_images(
    shots: Sequence[Callable[[], FaceImage]], channels: Sequence[Channel]
) -> tuple[tuple[ShardRow, ...], list[Vectors]]:
    """A few pictures through the channels, in memory: what became of each, and of each channel the vectors (n, D) of
    those that every channel embedded. A shot is made by a call, which may raise PictureError."""
    lines = [_Line(channel) for channel in channels]
    for shot in shots:
        _take(lines, "", shot)
    made = [line.done() for line in lines]
    rows = merge_rows([rows for rows, _ in made])
    return tuple(rows), [select_common(vectors, own, rows) for own, vectors in made]


def _take(lines: Sequence[_Line], digest: str, make: Callable[[], FaceImage]) -> None:
    try:
        shot = make()
        # A picture without a face is of no use to any channel.
        quality = quality_features(shot)
    except ImageError as error:
        for line in lines:
            line.reject(digest, error)
    else:
        for line in lines:
            line.take(digest, shot, quality)


def merge_rows(rows: Sequence[Sequence[ShardRow]]) -> list[ShardRow]:
    """What became of each picture, from each channel's rows: embedded by all, or the first reject."""
    return [next((row for row in each if row.stage), each[0]) for each in zip(*rows, strict=True)]


def select_common(vectors: Vectors, own: Sequence[ShardRow], together: Sequence[ShardRow]) -> Vectors:
    """A channel's vectors (n embedded by it, D) of the pictures that every channel embedded."""
    good = np.array([row.stage is None for row in together], np.bool_)
    return vectors if len(vectors) == good.sum() else vectors[good[[row.stage is None for row in own]]]


def _put_together(pieces: list[_Piece], way: ImagePreprocessor, stores: Sequence[ShardStore]) -> Partition:
    """Shards from pieces; what the store had is taken as it is."""
    read = pieces[0].read
    missing = [i for i, shard in enumerate(read.found) if shard is None]
    shards = list(read.found)
    for n, i in enumerate(missing):
        made = [piece.made[n] for piece in pieces if piece.rows]
        nothing = np.zeros((0, way.channels[i].dimension), np.float32)
        rows = [row for part, _ in made for row in part]
        shards[i] = stores[i].put(rows, np.concatenate([nothing, *(vectors for _, vectors in made)]))
    complete = [shard for shard in shards if shard is not None]
    of_image = [dict(zip(read.digests, shard.rows, strict=True)) for shard in complete]
    return Partition(
        tuple(shard.key for shard in complete),
        tuple(
            tuple(read.unread[i] if i in read.unread else rows[i] for i in range(len(read.records)))
            for rows in of_image
        ),
        not missing,
    )


class _Line:
    """One channel's rows and vectors of a piece."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rows: list[ShardRow] = []
        self._waiting: list[int] = []
        self._crops: list[ImageArray] = []

    def reject(self, digest: str, error: ImageError) -> None:
        self._rows.append(ShardRow(digest, error.stage, error.reason, error.detail))

    def take(self, digest: str, shot: FaceImage, quality: tuple[float, ...]) -> None:
        try:
            crop = self._channel.crop(shot)
        except ImageError as error:
            self.reject(digest, error)
            return
        self._crops.append(crop)
        self._waiting.append(len(self._rows))
        self._rows.append(ShardRow(digest, quality=quality, n_faces=shot.n_faces))

    def done(self) -> tuple[list[ShardRow], Vectors]:
        if not self._crops:
            return self._rows, np.zeros((0, self._channel.dimension), np.float32)
        block = self._channel.embed(np.stack(self._crops))
        good = np.asarray(block.any(axis=1), np.bool_)
        for i, ok in zip(self._waiting, good, strict=True):
            if not ok:
                digest = self._rows[i].digest
                self._rows[i] = ShardRow(
                    digest,
                    "embed",
                    "no select_common vector",
                    f"the {self._channel.name} channel gave zero or non-finite",
                )
        return self._rows, block[good]


def _keep_decoding(stop: threading.Event) -> None:
    if stop.is_set():
        raise CancelledError


def _read_again(source: Source, record: ImageRecord, digest: str) -> bytes:
    try:
        data = source.read(record)
    except ImageError as error:
        raise SourceError(f"{record.id} could be read once but not again ({error.reason}); run again") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise SourceError(f"{record.id} changed while it was being read; run again when the files are at rest")
    return data
