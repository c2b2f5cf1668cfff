"""The digests of the pixels of training images, by threads of this process or by the workers of an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unveil.embedding.distributed import RecordRange, SourceOpener
from unveil.engine import Engine, Task, WorkerFailure, map_ordered
from unveil.errors import ImageError
from unveil.images import Source, decode_rgb, pixel_digest
from unveil.io.host import cores
from unveil.io.memory import held_memory
from unveil.progress import Progress
from unveil.types import ImageRecord

DIGEST_BYTES = 32
# Images that are decoded in one go at most, and the number of ranges that is kept so that every worker gets some.
MAX_IMAGES, MIN_RANGES = 1024, 64


@dataclass(frozen=True)
class DigestRange:
    """Records of a source, each with the SHA-256 of its file; None for records whose pixels are not needed."""

    records: RecordRange
    files: tuple[str | None, ...]

    def digests(self, source: Source) -> bytes:
        """The 32 bytes of each record, one after the other. Zeros mark one that is not needed, changed or missing."""
        found = zip(self.records.of(source), self.files, strict=True)
        return b"".join(_digest(source, record, file) or bytes(DIGEST_BYTES) for record, file in found)


@dataclass(frozen=True)
class DigestRanges(Task[DigestRange, bytes]):
    """Opens a source, and returns the digests of ranges."""

    source: SourceOpener

    def __call__(self) -> Callable[[DigestRange], bytes]:
        source = self.source.open()

        def digests(item: DigestRange) -> bytes:
            return item.digests(source)

        return digests


def pixel_digests(
    source: Source,
    ids: Sequence[str],
    files: Sequence[str],
    progress: Progress,
    engine: Engine | None,
    opener: SourceOpener,
) -> npt.NDArray[np.uint8]:
    """The digests (N, 32) of the pixels of the images with these ids (N,), whose files have the SHA-256 ``files`` (N,).

    Zeros mark an image that has changed or is missing. ``opener`` opens the source in the workers of an engine. Raises
    EngineError if workers end whichever image they decode.
    """
    row_of = {id: row for row, id in enumerate(ids)}
    records = source.records
    rows = [row_of.get(record.id) for record in records]
    size = max(1, min(MAX_IMAGES, -(-len(records) // MIN_RANGES)))
    starts = range(0, len(records), size)

    def ranges() -> Iterator[DigestRange]:
        for start in starts:
            needed = tuple(None if row is None else files[row] for row in rows[start : start + size])
            yield DigestRange(RecordRange.from_records(records, start, start + len(needed)), needed)

    def finished(item: DigestRange) -> None:
        progress.advance(sum(file is not None for file in item.files))

    def here(item: DigestRange) -> bytes:
        found = item.digests(source)
        finished(item)
        return found

    progress.start("pixels of the training images", len(ids), "images")
    results: Iterator[bytes | WorkerFailure]
    if engine is None:
        results = map_ordered(here, ranges(), cores())
    else:
        task = DigestRanges(opener.absolute)
        results = engine.map("decoding the training images", task, ranges(), finished=finished)
    digests = np.zeros((len(ids), DIGEST_BYTES), np.uint8)
    for start, found in zip(starts, results, strict=True):
        if isinstance(found, WorkerFailure):
            raise found.error("decoding the training images")
        own = rows[start : start + size]
        needed = np.array([row is not None for row in own], np.bool_)
        digests[[row for row in own if row is not None]] = np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)[
            needed
        ]
    return digests


def _digest(source: Source, record: ImageRecord, file: str | None) -> bytes | None:
    """The digest of the pixels of one image, or None if its file is not the one that was embedded."""
    if file is None:
        return None
    try:
        data = source.read(record)
        with held_memory():
            return pixel_digest(decode_rgb(data)) if hashlib.sha256(data).hexdigest() == file else None
    except ImageError:
        return None
