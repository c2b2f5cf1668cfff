"""A source of pictures to the vectors of a role: partitions through workers, shards into one file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np

from unveil.channels import FaceChannel, open_detector
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.choices import Aligned, Device
from unveil.embedding import pipeline as work
from unveil.embedding.crash_marker import mark_in_progress
from unveil.embedding.pipeline import (
    ImagePreprocessor,
    Partition,
    embed_partitions,
    merge_rows,
    select_common,
    split_records,
)
from unveil.embedding.shards import ShardRow, ShardStore, assemble
from unveil.errors import ImageError, SettingError, SourceError
from unveil.images import LabelRule, Source, decode_rgb, image_size, open_source
from unveil.images.source import MAX_LIST_BYTES, read_file
from unveil.io.host import cores
from unveil.io.storage import Storage, open_storage
from unveil.presets import resolve
from unveil.progress import Progress, Silent
from unveil.types import ChannelVectors, Embedded, ImageRecord, Reject

logger = logging.getLogger(__name__)

# Pictures whose size is looked at, and of each size those whose landmarks are.
SIZE_SAMPLE, ALIGNMENT_SAMPLE = 400, 48
FEWEST_OF_A_SIZE = 0.01


# The row of a picture that counts as not being there.
EXCLUDED = ShardRow("", "read", "left out")


# Embeds a source, named for the progress line, whose aligned crops are known.
Embedder = Callable[[Source, str, ImageAlignment], "EmbeddedSource"]


@dataclass(frozen=True)
class EmbeddedSource:
    """What became of a source: vectors and ids of the embedded pictures, and every other picture as a reject."""

    embedded: Embedded
    rejects: tuple[Reject, ...]
    n_images: int
    alignment: ImageAlignment
    label_rule: str
    kind: str
    sha256: str  # over the ids and digests of all pictures
    n_multiple_faces: int  # of the embedded pictures show several faces

    def __post_init__(self) -> None:
        if self.n_images != len(self.embedded) + len(self.rejects):
            raise ValueError(f"{self.n_images} pictures, {len(self.embedded)} embedded, {len(self.rejects)} rejected")


def embed_source(
    source: Source,
    way: ImagePreprocessor,
    storage: Storage,
    vectors_paths: Sequence[Path],
    *,
    workers: int = 0,
    label: str = "pictures",
    progress: Progress | None = None,
    without: frozenset[str] = frozenset(),
    spread: Callable[[], list[Partition]] | None = None,
) -> EmbeddedSource:
    """Embeds every picture of a source, in order, through each channel; shards already in the store are not made again.

    Pictures whose ids are in ``without`` count as not being there, though the shards that hold them are used. A picture
    that any channel rejects is a reject. With ``spread``, partitions are embedded elsewhere, into the same storage.
    The vectors are those of the first channel, the others' are views.
    Raises SourceError when a picture changes while it is read, or when none gives a face.
    """
    progress = progress or Silent()
    channels = way.channels
    stores = [ShardStore(storage, way.recipe(channel)) for channel in channels]
    records = source.records
    partitions = split_records(records, work.PARTITION)
    progress.start(f"embedding {label}", len(records), "pictures")
    # Only keys and rows are held; the vectors go from the shards straight into the files.
    if spread is not None:
        done = spread()
    else:
        with mark_in_progress(vectors_paths[0].with_suffix(".in-hand"), label, progress) as looking:
            done = list(
                embed_partitions(source, partitions, way, stores, workers or cores(), progress.advance, looking=looking)
            )
    reused = sum(partition.reused for partition in done)
    if reused:
        logger.info(f"{label}: {reused} of {len(done)} shards were in {storage.where} already")
    together = [merge_rows(partition.rows) for partition in done]
    if without:
        together = [
            [EXCLUDED if record.id in without else row for record, row in zip(part, rows, strict=True)]
            for part, rows in zip(partitions, together, strict=True)
        ]
    rows = [row for part in together for row in part]
    n_embedded = sum(row.stage is None for row in rows)
    views = [
        ChannelVectors(
            channel.name,
            assemble(
                (
                    select_common(store.require(partition.keys[i]).vectors, partition.rows[i], part)
                    for partition, part in zip(done, together, strict=True)
                ),
                n_embedded,
                channel.dimension,
                path,
            ),
            channel.model_id,
        )
        for i, (channel, store, path) in enumerate(zip(channels, stores, vectors_paths, strict=True))
    ]
    return collect(source, rows, views, way.alignment)


def resolve_alignment(source: Source, aligned: Aligned, label: str, progress: Progress) -> ImageAlignment:
    """`decide_alignment`, and says what was found."""
    finding = decide_alignment(source, aligned)
    logger.info(
        f"{label}: {len(source.records)} files in a {source.kind}, {source.rule.description}; {finding.description}"
    )
    logger.info(f"{label}: {finding.reason}")
    for note in source.notes:
        logger.info(f"{label}: {note}")
    return finding


def decide_alignment(source: Source, aligned: Aligned) -> ImageAlignment:
    """Which pictures of a source are aligned crops: as told, or from a sample of each size that is common in it."""
    if aligned != "auto":
        return ImageAlignment(None if aligned == "yes" else frozenset(), "as told")
    by_side: dict[int, list[ImageRecord]] = {}
    sampled = evenly(source.records, SIZE_SAMPLE)
    for record in sampled:
        with contextlib.suppress(ImageError):
            width, height = image_size(source.read(record))
            if width == height:
                by_side.setdefault(width, []).append(record)
    sides, why = [], []
    for side, records in sorted(by_side.items()):
        if len(records) < max(3, FEWEST_OF_A_SIZE * len(sampled)):
            continue
        images = []
        for record in evenly(records, ALIGNMENT_SAMPLE):
            with contextlib.suppress(ImageError):
                images.append(decode_rgb(source.read(record)))
        yes, reason = detect_aligned_crops(images)
        if yes:
            sides.append(side)
        why.append(f"{side} x {side}: {reason}")
    return ImageAlignment(frozenset(sides), "; ".join(why) or "no square size is common among them")


def evenly(records: list[ImageRecord], n: int) -> list[ImageRecord]:
    """At most ``n`` records, evenly spaced."""
    return [records[i] for i in np.linspace(0, len(records) - 1, min(n, len(records))).astype(int)]


def read_exclusions(path: Path, source: Source) -> frozenset[str]:
    """The ids in a list of pictures to leave out, an id a line; SourceError when one is not in the source."""
    try:
        text = read_file(path, MAX_LIST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not a UTF-8 text file") from None
    # An id may begin with anything and never holds the end of a line.
    ids = frozenset(line for line in text.split("\n") if line)
    strange = ids - {record.id for record in source.records}
    if strange:
        raise SourceError(
            f"{path}: {len(strange)} of its {len(ids)} lines are no picture of {source.where}, for example "
            f"`{min(strange)}`; a line is an id, as in images.parquet of a run"
        )
    return ids


def collect(
    source: Source, rows: list[ShardRow], views: list[ChannelVectors], finding: ImageAlignment
) -> EmbeddedSource:
    """What became of a source, from a row for each of its records and the vectors of those that were embedded; records
    whose row is LEFT_OUT count as not being there."""
    good: list[tuple[ImageRecord, ShardRow]] = []
    rejects: list[Reject] = []
    seal = hashlib.sha256()
    kept = [(record, row) for record, row in zip(source.records, rows, strict=True) if row is not EXCLUDED]
    for record, row in kept:
        seal.update(f"{record.id}\0{record.person}\0{row.digest or row.reason}\n".encode())
        if row.stage is None:
            good.append((record, row))
        else:
            rejects.append(Reject(record.id, row.stage, row.reason, row.detail))
    if not kept:
        raise SourceError(f"{source.where}: every picture is left out")
    if not good:
        (reason, n), *_ = Counter(f"{r.stage}: {r.reason}" for r in rejects).most_common(1)
        raise SourceError(
            f"{source.where}: none of its {len(rejects)} files gave a face; {n} times `{reason}` "
            f"(`{rejects[0].id}`: {rejects[0].reason} {rejects[0].detail})"
        )
    embedded = Embedded(
        ids=tuple(record.id for record, _ in good),
        people=tuple(record.person for record, _ in good),
        digests=tuple(row.digest for _, row in good),
        vectors=views[0].vectors,
        model_id=views[0].model_id,
        quality=np.array([row.quality for _, row in good]) if good[0][1].quality else None,
        views=tuple(views[1:]),
    )
    return EmbeddedSource(
        embedded,
        tuple(rejects),
        len(kept),
        finding,
        str(source.rule),
        source.kind,
        seal.hexdigest(),
        sum(row.n_faces > 1 for _, row in good),
    )


def embed(
    place: str | Path,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    detector: str | Path = "dlib",
    device: str = "auto",
    labels: str = "auto",
    aligned: str = "auto",
    store: str | Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> EmbeddedSource:
    """Embeds the pictures of a path or PRESET:PATH: unit vectors (N, D) float32 with ids, people and rejects.

    With ``out``, the vectors stay in ``out/vectors.npy`` and shards are kept for the next time in ``store`` (by default
    ``out/shards``); without, nothing is left on disk. Raises SourceError or ModelError for input that cannot be used.
    """
    if aligned not in get_args(Aligned):
        raise SettingError(f"aligned should be auto, yes or no, got {aligned}")
    if device not in get_args(Device):
        raise SettingError(f"device should be one of {', '.join(get_args(Device))}, got {device}")
    where, preset = resolve(str(place))
    if preset is not None and preset.established:
        labels = (preset.labels or labels) if labels == "auto" else labels
        aligned = (preset.aligned or aligned) if aligned == "auto" else aligned
    source = open_source(where, LabelRule.parse(labels))
    channel = FaceChannel(model, cast(Device, device))
    if channel.told and progress is not None:
        logger.warning(channel.told)
    with contextlib.ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = embed_source(
            source,
            ImagePreprocessor(
                [channel],
                resolve_alignment(source, cast(Aligned, aligned), "pictures", progress or Silent()),
                open_detector(detector),
            ),
            open_storage(store if store is not None else folder / "shards"),
            [folder / "vectors.npy"],
            workers=workers,
            progress=progress,
        )
        if out is None:
            in_memory = replace(found.embedded, vectors=np.array(found.embedded.vectors))
            found = replace(found, embedded=in_memory)
        return found
