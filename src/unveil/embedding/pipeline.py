"""Images through the channels into shards, on one machine: the longest part of an audit.

Reading and hashing run ahead. Partitions that are not in the store are split into chunks of one model call each.
Threads decode, detect, align and embed a chunk from start to end, so that none waits for another. The shards are
assembled in order.
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
from unveil.faces.versions import library_versions
from unveil.images import Source, decode_rgb, decode_scaled
from unveil.io.memory import held_memory
from unveil.io.storage import Storage
from unveil.types import ImageRecord, Vectors

CRASHES_DECODER = ImageError("decode", "crashes the decoder", "every process that decoded it ended")
# The smallest side in pixels to which a JPEG is reduced while it is decoded. Aligned crops: twice the template.
# Photographs: enough for a face across a quarter of the image to need no enlargement.
CROP_DETAIL, PHOTOGRAPH_DETAIL = 224, 480
# Decoded images that a thread holds, and the bytes of their pixels from which no more are decoded before.
MAX_DECODED, MAX_DECODED_BYTES = 16, 8 * 2**20


@dataclass(frozen=True)
class PipelineSizes:
    """How the work is divided. None of it changes a vector."""

    images_per_shard: int = 512  # few enough that a killed run loses seconds of work
    min_images_per_chunk: int = 16  # that a thread embeds at a time
    queue_bytes: int = 32 * 2**20  # image files that a partition holds in memory between hashing and decoding
    readers: int = 2  # partitions that are read and hashed at a time


@dataclass(frozen=True)
class ImagePreprocessor:
    """How images are prepared: for which channels, which of them are aligned crops, and with which detector."""

    channels: Sequence[Channel]
    alignment: ImageAlignment
    detector: Detector

    def configuration(self, channel: Channel) -> str:
        """A hash of the model, the alignment and the detector of one channel: what the user chose."""
        facts = f"{channel.model_id} aligned={self.alignment.key}"
        if self.alignment.sides is not None and self.detector.key != "dlib":
            facts += f" detector={self.detector.key}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def recipe(self, channel: Channel) -> str:
        """A hash of everything but the images that decides the vectors of one channel.

        Besides the `configuration`, the device and the versions of the libraries: they decide the last bits.
        """
        facts = [self.configuration(channel), channel.runtime, library_versions()]
        if self.alignment.sides is not None:
            facts.append(self.detector.runtime)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def decode(self, data: bytes) -> FaceImage:
        """An image, decoded at the scale that is needed. Raises ImageError if it cannot be decoded."""

        def min_side(width: int, height: int) -> int:
            return CROP_DETAIL if self.alignment.covers(width, height) else PHOTOGRAPH_DETAIL

        pixels, size, remarks = decode_scaled(data, min_side)
        reduced = pixels.shape[0] * pixels.shape[1] < size[0] * size[1]
        return FaceImage(
            pixels,
            self.alignment.covers(*size),
            self.detector,
            decode_full=partial(decode_rgb, data) if reduced else None,
            size=size,
            remarks=remarks,
        )


@dataclass(frozen=True)
class EmbeddedPartition:
    """The result of some records of a source.

    For each channel: the recipe and the key of the shard with the vectors, and a row for each record. ``reused`` if no
    image had to be decoded, ``others`` if shards were found that another user made and that were not used.
    """

    recipes: tuple[str, ...]
    keys: tuple[str, ...]
    rows: tuple[tuple[ShardRow, ...], ...]
    reused: bool
    others: bool = False


def open_stores(storage: Storage, preprocessor: ImagePreprocessor) -> list[ShardStore]:
    """The shards of each channel in a storage."""
    return [ShardStore(storage, preprocessor.recipe(c), c.dimension) for c in preprocessor.channels]


def split_records(records: Sequence[ImageRecord], size: int) -> list[Sequence[ImageRecord]]:
    """Records as partitions of ``size``. Each becomes one shard for each channel."""
    return [records[i : i + size] for i in range(0, len(records), size)]


@dataclass(frozen=True)
class _HashedPartition:
    """Records whose bytes were hashed: digests of readable ones, rows for the others, and the shards that exist."""

    records: Sequence[ImageRecord]
    digests: dict[int, str]
    unreadable: dict[int, ShardRow]
    data: dict[int, bytes]  # of the records that fit into memory
    shards: list[Shard | None]
    others: list[bool]  # whether there is one for each channel that another user made


@dataclass
class _Chunk:
    """Some images of a partition, and the rows and vectors of each channel that has no shard yet."""

    partition: _HashedPartition
    indices: Sequence[int]  # of its records
    last: bool
    results: list[tuple[list[ShardRow], Vectors]] = field(default_factory=list)


def embed_partitions(
    source: Source,
    partitions: Sequence[Sequence[ImageRecord]],
    preprocessor: ImagePreprocessor,
    stores: Sequence[ShardStore],
    workers: int,
    *,
    sizes: PipelineSizes | None = None,
    advance: Callable[[int], None] = lambda n: None,
    crashing: frozenset[str] = frozenset(),
    before_decoding: Callable[[str], None] = lambda id: None,
) -> Generator[EmbeddedPartition, None, None]:
    """Embeds records into one shard for each partition and channel, in order, unless the channel's store has it.

    Every record gets a row: embedded, or rejected with stage and reason. Records with ids in ``crashing`` are known to
    crash the decoder and are rejected without decoding. Unreadable files are not part of a shard, which depends on
    image bytes only. ``advance`` is called with the number of records that were finished since its last call,
    ``before_decoding`` with the id of each image before it is decoded.
    Raises SourceError if an image changes while it is read.
    """
    sizes = sizes or PipelineSizes()
    chunk_size = max(sizes.min_images_per_chunk, *(channel.batch for channel in preprocessor.channels))
    stop_reading, stop_embedding = threading.Event(), threading.Event()
    read = partial(_read_partition, source, stores=stores, queue_bytes=sizes.queue_bytes, stop=stop_reading)
    hashed = map_ordered(read, partitions, sizes.readers, stop_reading)
    chunks = (chunk for partition in hashed for chunk in _chunks(partition, chunk_size))
    embed = partial(
        _embed_chunk,
        source,
        preprocessor=preprocessor,
        stop=stop_embedding,
        crashing=crashing,
        before_decoding=before_decoding,
    )
    embedded = map_ordered(embed, chunks, workers, stop_embedding)
    finished: list[_Chunk] = []
    with contextlib.closing(hashed), contextlib.closing(embedded):
        for chunk in embedded:
            finished.append(chunk)
            advance(len(chunk.indices))
            if chunk.last:
                yield _assemble(finished, preprocessor, stores)
                advance(len(chunk.partition.records) - sum(len(one.indices) for one in finished))
                finished = []


def _read_partition(
    source: Source,
    records: Sequence[ImageRecord],
    stores: Sequence[ShardStore],
    queue_bytes: int,
    stop: threading.Event,
) -> _HashedPartition:
    read = _HashedPartition(records, {}, {}, {}, [], [])
    free = queue_bytes
    for i, record in enumerate(records):
        _raise_if_stopped(stop)
        try:
            data = source.read(record)
        except ImageError as error:
            read.unreadable[i] = ShardRow("", error.stage, error.reason, error.detail)
            continue
        read.digests[i] = hashlib.sha256(data).hexdigest()
        if len(data) <= free:
            read.data[i] = data
            free -= len(data)
    for store in stores:
        key = store.key(read.digests.values())
        shard = store.get(key)
        read.shards.append(shard)
        read.others.append(shard is None and key in store.others)
    if None not in read.shards:
        read.data.clear()
    return read


def _chunks(partition: _HashedPartition, size: int) -> Iterator[_Chunk]:
    """The images of a partition that have to be decoded; one empty chunk if there are none."""
    indices = list(partition.digests) if None in partition.shards else []
    for start in range(0, max(1, len(indices)), size):
        yield _Chunk(partition, indices[start : start + size], last=start + size >= len(indices))


def _embed_chunk(
    source: Source,
    chunk: _Chunk,
    preprocessor: ImagePreprocessor,
    stop: threading.Event,
    crashing: frozenset[str],
    before_decoding: Callable[[str], None],
) -> _Chunk:
    """One chunk from bytes to vectors. All channels share one decoding and one detection of each image."""
    partition = chunk.partition
    channels = [c for c, shard in zip(preprocessor.channels, partition.shards, strict=True) if shard is None]
    batches = [_ChannelBatch(channel) for channel in channels] if chunk.indices else []
    waiting = _DecodedImages(batches)
    for i in chunk.indices:
        _raise_if_stopped(stop)
        digest = partition.digests[i]
        if partition.records[i].id in crashing:
            waiting.add(digest, CRASHES_DECODER)
            continue
        data = partition.data.pop(i, None)
        if data is None:
            data = _read_again(source, partition.records[i], digest)
        before_decoding(partition.records[i].id)
        waiting.decode(digest, partial(preprocessor.decode, data))
    waiting.flush()
    chunk.results.extend(batch.embed() for batch in batches)
    return chunk


def embed_images(
    images: Sequence[Callable[[], FaceImage]], channels: Sequence[Channel]
) -> tuple[tuple[ShardRow, ...], list[Vectors]]:
    """Embeds a few images in memory. Each is decoded by calling a function, which may raise ImageError.

    Returns a row for each image, and for each channel the vectors (n, D) float32 of the images that every channel
    embedded.
    """
    batches = [_ChannelBatch(channel) for channel in channels]
    waiting = _DecodedImages(batches)
    for decode in images:
        waiting.decode("", decode)
    waiting.flush()
    results = [batch.embed() for batch in batches]
    rows = merge_rows([rows for rows, _ in results])
    return tuple(rows), [select_common(vectors, own, rows) for own, vectors in results]


def merge_rows(rows: Sequence[Sequence[ShardRow]]) -> list[ShardRow]:
    """One row for each image from the rows of each channel: embedded if all embedded it, else the first rejection."""
    return [next((row for row in each if row.stage), each[0]) for each in zip(*rows, strict=True)]


def select_common(vectors: Vectors, own: Sequence[ShardRow], merged: Sequence[ShardRow]) -> Vectors:
    """Those of a channel's vectors (n embedded by it, D) whose images every channel embedded."""
    embedded = np.array([row.stage is None for row in merged], np.bool_)
    return vectors if len(vectors) == embedded.sum() else vectors[embedded[[row.stage is None for row in own]]]


def _assemble(chunks: list[_Chunk], preprocessor: ImagePreprocessor, stores: Sequence[ShardStore]) -> EmbeddedPartition:
    """Writes the missing shards of a partition from its chunks."""
    partition = chunks[0].partition
    missing = [i for i, shard in enumerate(partition.shards) if shard is None]
    shards = list(partition.shards)
    for n, i in enumerate(missing):
        results = [chunk.results[n] for chunk in chunks if chunk.indices]
        empty = np.zeros((0, preprocessor.channels[i].dimension), np.float32)
        rows = [row for part, _ in results for row in part]
        shards[i] = stores[i].put(rows, np.concatenate([empty, *(vectors for _, vectors in results)]))
    complete = [shard for shard in shards if shard is not None]
    by_record = [dict(zip(partition.digests, shard.rows, strict=True)) for shard in complete]
    return EmbeddedPartition(
        recipes=tuple(store.recipe for store in stores),
        keys=tuple(shard.key for shard in complete),
        rows=tuple(
            tuple(
                partition.unreadable[i] if i in partition.unreadable else rows[i] for i in range(len(partition.records))
            )
            for rows in by_record
        ),
        reused=not missing,
        others=any(partition.others),
    )


class _DecodedImages:
    """Decoded images, and errors of others, that are passed on to the batches of all channels a few at a time."""

    def __init__(self, batches: Sequence[_ChannelBatch]) -> None:
        self._batches = batches
        self._waiting: list[tuple[str, FaceImage | ImageError]] = []
        self._bytes = 0

    def decode(self, digest: str, decode: Callable[[], FaceImage]) -> None:
        with held_memory():  # a large image is passed on at once
            self._decode(digest, decode)

    def _decode(self, digest: str, decode: Callable[[], FaceImage]) -> None:
        try:
            image = decode()
        except ImageError as error:
            self.add(digest, error.copy())
        else:
            # Before it waits with others: the pixels at full size may replace reduced ones.
            image.detect()
            self._bytes += image.pixels.nbytes
            self.add(digest, image)

    def add(self, digest: str, image: FaceImage | ImageError) -> None:
        self._waiting.append((digest, image))
        if len(self._waiting) >= MAX_DECODED or self._bytes >= MAX_DECODED_BYTES:
            self.flush()

    def flush(self) -> None:
        images = [image for _, image in self._waiting if isinstance(image, FaceImage)]
        for batch in self._batches:
            batch.prepare(images)
        for digest, image in self._waiting:
            self._pass_on(digest, image)
        self._waiting, self._bytes = [], 0

    def _pass_on(self, digest: str, image: FaceImage | ImageError) -> None:
        try:
            if isinstance(image, ImageError):
                raise image
            # No channel uses an image without a face.
            quality = quality_features(image)
        except ImageError as error:
            for batch in self._batches:
                batch.reject(digest, error)
        else:
            for batch in self._batches:
                batch.add(digest, image, quality)


class _ChannelBatch:
    """The rows of one channel for some images, and the crops to embed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rows: list[ShardRow] = []
        self._pending: list[int] = []  # rows whose crops are to be embedded
        self._crops: list[ImageArray] = []

    def prepare(self, images: Sequence[FaceImage]) -> None:
        self._channel.prepare(images)

    def reject(self, digest: str, error: ImageError) -> None:
        self._rows.append(ShardRow(digest, error.stage, error.reason, error.detail))

    def add(self, digest: str, image: FaceImage, quality: tuple[float, ...]) -> None:
        try:
            crop = self._channel.crop(image)
        except ImageError as error:
            self.reject(digest, error)
            return
        self._crops.append(crop)
        self._pending.append(len(self._rows))
        detail = ",".join(image.remarks)
        self._rows.append(ShardRow(digest, detail=detail, quality=quality, n_faces=image.n_faces))

    def embed(self) -> tuple[list[ShardRow], Vectors]:
        """The rows, and the vectors of the embedded images. Images without a vector become rejects."""
        if not self._crops:
            return self._rows, np.zeros((0, self._channel.dimension), np.float32)
        vectors = self._channel.embed(np.stack(self._crops))
        valid = np.asarray(vectors.any(axis=1), np.bool_)
        for i, ok in zip(self._pending, valid, strict=True):
            if not ok:
                detail = f"the {self._channel.name} channel gave a zero or non-finite vector"
                self._rows[i] = ShardRow(self._rows[i].digest, "embed", "no usable vector", detail)
        return self._rows, vectors[valid]


def _raise_if_stopped(stop: threading.Event) -> None:
    if stop.is_set():
        raise CancelledError


def _read_again(source: Source, record: ImageRecord, digest: str) -> bytes:
    try:
        data = source.read(record)
    except ImageError as error:
        raise SourceError(f"{record.id} was readable once but not again ({error.reason}); run again") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise SourceError(f"{record.id} changed while it was being read; run again when the files no longer change")
    return data
