"""A source of images to the vectors of a role: partitions into shards, and shards into one file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unveil.channels import FaceChannel, open_detector
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.choices import ALIGNED, DEVICES, Aligned
from unveil.embedding.crash_marker import mark_in_progress
from unveil.embedding.pipeline import (
    EmbeddedPartition,
    ImagePreprocessor,
    PipelineSizes,
    embed_partitions,
    merge_rows,
    select_common,
    split_records,
)
from unveil.embedding.shards import ShardRow, ShardStore, write_vectors
from unveil.errors import ImageError, SettingError, SourceError
from unveil.faces.probe import check_model
from unveil.images import LabelRule, Source, decode_rgb, image_size, open_source
from unveil.images.source import MAX_LIST_BYTES, read_file
from unveil.io.host import cores
from unveil.io.storage import Storage, open_storage
from unveil.presets import resolve
from unveil.progress import Progress, Silent
from unveil.types import ChannelVectors, Embedded, ImageRecord, Reject

logger = logging.getLogger(__name__)

# To decide the alignment: images whose size is read, and for each common size images whose landmarks are compared.
SIZE_SAMPLE, ALIGNMENT_SAMPLE = 400, 48
MIN_SHARE_OF_SIZE = 0.01

# The row of an image that is excluded: it is neither embedded nor rejected.
EXCLUDED = ShardRow("", "read", "excluded")

# Embeds a source, given a label for progress and its alignment.
EmbedFunction = Callable[[Source, str, ImageAlignment], "EmbeddedSource"]


@dataclass(frozen=True)
class EmbeddedSource:
    """The result of a source: vectors and ids of the embedded images, and all other images as rejects.

    ``embedded`` holds the vectors, ids and people, ``rejects`` the images without a usable face. ``n_images`` is the
    number of both. ``alignment``, ``label_rule`` and ``kind`` say how the source was read; ``sha256`` identifies it.
    """

    embedded: Embedded
    rejects: tuple[Reject, ...]
    n_images: int
    alignment: ImageAlignment
    label_rule: str
    kind: str
    sha256: str  # of the ids and digests of all images
    n_multiple_faces: int  # embedded images in which several faces were detected
    model_name: str = ""  # of the face model, if there is one only

    def __post_init__(self) -> None:
        if self.n_images != len(self.embedded) + len(self.rejects):
            raise ValueError(f"{self.n_images} images, {len(self.embedded)} embedded, {len(self.rejects)} rejected")


def embed_source(
    source: Source,
    preprocessor: ImagePreprocessor,
    storage: Storage,
    vectors_paths: Sequence[Path],
    *,
    workers: int = 0,
    label: str = "images",
    progress: Progress | None = None,
    exclude: frozenset[str] = frozenset(),
    sizes: PipelineSizes | None = None,
    embed_elsewhere: Callable[[], list[EmbeddedPartition]] | None = None,
) -> EmbeddedSource:
    """Embeds every image of a source, in order, through each channel. Shards in the storage are reused.

    Images with ids in ``exclude`` are left out of the result. An image that any channel rejects is a reject.
    ``embed_elsewhere`` embeds the partitions in other processes into the same storage. ``workers`` 0 means one for each
    core. The vectors of the first channel are ``vectors`` of the result, those of the others are ``views``.
    Raises SourceError if an image changes while it is read, or if no image can be embedded.
    """
    progress = progress or Silent()
    sizes = sizes or PipelineSizes()
    channels = preprocessor.channels
    records = source.records
    progress.start(f"embedding {label}", len(records), "images")
    # Only keys and rows are held in memory; the vectors go from the shards to the files.
    if embed_elsewhere is not None:
        done = embed_elsewhere()
    else:
        stores = [ShardStore(storage, preprocessor.recipe(channel)) for channel in channels]
        partitions = split_records(records, sizes.images_per_shard)
        with mark_in_progress(vectors_paths[0].with_suffix(".in-progress"), label) as mark:
            done = list(
                embed_partitions(
                    source,
                    partitions,
                    preprocessor,
                    stores,
                    workers or cores(),
                    sizes=sizes,
                    advance=progress.advance,
                    before_decoding=mark,
                )
            )
    reused = sum(partition.reused for partition in done)
    if reused:
        logger.info("%s: %d of %d shards were found in %s", label, reused, len(done), storage.where)
    merged = [merge_rows(partition.rows) for partition in done]
    if exclude:
        merged = _exclude(records, merged, exclude)
    rows = [row for part in merged for row in part]
    n_embedded = sum(row.stage is None for row in rows)
    by_recipe = {recipe: ShardStore(storage, recipe) for partition in done for recipe in partition.recipes}
    views = [
        ChannelVectors(
            channel.name,
            write_vectors(
                (
                    select_common(
                        by_recipe[partition.recipes[i]].require(partition.keys[i]).vectors, partition.rows[i], part
                    )
                    for partition, part in zip(done, merged, strict=True)
                ),
                n_embedded,
                channel.dimension,
                path,
            ),
            channel.model_id,
            " ".join(sorted({partition.recipes[i] for partition in done})),
        )
        for i, (channel, path) in enumerate(zip(channels, vectors_paths, strict=True))
    ]
    return collect(source, rows, views, preprocessor.alignment)


def _exclude(
    records: Sequence[ImageRecord], merged: Sequence[Sequence[ShardRow]], ids: frozenset[str]
) -> list[list[ShardRow]]:
    remaining = iter(records)
    return [[EXCLUDED if next(remaining).id in ids else row for row in part] for part in merged]


def collect(
    source: Source, rows: Sequence[ShardRow], views: Sequence[ChannelVectors], alignment: ImageAlignment
) -> EmbeddedSource:
    """The result of a source from a row for each record and the vectors of the embedded ones.

    Records whose row is ``EXCLUDED`` are left out. Raises SourceError if nothing is left or embedded.
    """
    good: list[tuple[ImageRecord, ShardRow]] = []
    rejects: list[Reject] = []
    included = [(record, row) for record, row in zip(source.records, rows, strict=True) if row is not EXCLUDED]
    for record, row in included:
        if row.stage is None:
            good.append((record, row))
        else:
            rejects.append(Reject(record.id, row.stage, row.reason, row.detail))
    if not included:
        raise SourceError(f"{source.where}: every image is excluded; shorten the list of --exclude")
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
        recipe=views[0].recipe,
        quality=np.array([row.quality for _, row in good]) if good[0][1].quality else None,
        views=tuple(views[1:]),
    )
    return EmbeddedSource(
        embedded,
        tuple(rejects),
        len(included),
        alignment,
        str(source.rule),
        source.kind,
        records_sha256((record, row.digest or row.reason) for record, row in included),
        sum(row.n_faces > 1 for _, row in good),
    )


def content_sha256(source: Source, excluded: frozenset[str] = frozenset()) -> str:
    """The hash of the ids, people and bytes of all images, as `collect` makes it, without embedding anything.

    Images with ids in ``excluded`` are left out.
    """

    def digest(record: ImageRecord) -> str:
        try:
            return hashlib.sha256(source.read(record)).hexdigest()
        except ImageError as error:
            return error.reason

    return records_sha256((record, digest(record)) for record in source.records if record.id not in excluded)


def records_sha256(records: Iterable[tuple[ImageRecord, str]]) -> str:
    """The hash of records, each with the digest of its content or the reason why it has none."""
    sha256 = hashlib.sha256()
    for record, digest in records:
        sha256.update(f"{record.id}\0{record.person}\0{digest}\n".encode())
    return sha256.hexdigest()


def resolve_alignment(source: Source, aligned: Aligned, label: str) -> ImageAlignment:
    """As `decide_alignment`; logs the source, the decision and its reason."""
    alignment = decide_alignment(source, aligned)
    logger.info(
        "%s: %d files in a %s, %s; %s",
        *(label, len(source.records), source.kind, source.rule.description, alignment.description),
    )
    logger.debug("%s: %s", label, alignment.reason)
    for note in source.notes:
        logger.info("%s: %s", label, note)
    return alignment


def decide_alignment(source: Source, aligned: Aligned) -> ImageAlignment:
    """Which images of a source are aligned crops: as set, or decided from a sample of each size that is common."""
    if aligned != "auto":
        return ImageAlignment(None if aligned == "yes" else frozenset(), f"as set: aligned {aligned}")
    by_side: dict[int, list[ImageRecord]] = {}
    sampled = sample_evenly(source.records, SIZE_SAMPLE)
    for record in sampled:
        with contextlib.suppress(ImageError):
            width, height = image_size(source.read(record))
            if width == height:
                by_side.setdefault(width, []).append(record)
    sides, reasons = [], []
    for side, records in sorted(by_side.items()):
        if len(records) < max(3, MIN_SHARE_OF_SIZE * len(sampled)):
            continue
        images = []
        for record in sample_evenly(records, ALIGNMENT_SAMPLE):
            with contextlib.suppress(ImageError):
                images.append(decode_rgb(source.read(record)))
        are_aligned, reason = detect_aligned_crops(images)
        if are_aligned:
            sides.append(side)
        reasons.append(f"{side} x {side}: {reason}")
    return ImageAlignment(frozenset(sides), "; ".join(reasons) or "no square size is common among the images")


def sample_evenly(records: list[ImageRecord], n: int) -> list[ImageRecord]:
    """At most ``n`` records, evenly spaced."""
    return [records[i] for i in np.linspace(0, len(records) - 1, min(n, len(records))).astype(int)]


def read_exclusions(path: Path, source: Source) -> frozenset[str]:
    """The ids in a list of images to exclude, one id a line. Raises SourceError if one is not in the source."""
    try:
        text = read_file(path, MAX_LIST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not a UTF-8 text file") from None
    # An id may begin with any character and never contains a line break.
    ids = frozenset(line for line in text.split("\n") if line)
    unknown = ids - {record.id for record in source.records}
    if unknown:
        raise SourceError(
            f"{path}: {len(unknown)} of its {len(ids)} lines are not images of {source.where}, for example "
            f"`{min(unknown)}`; each line should be an id as in images.parquet of a run"
        )
    return ids


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
    """Embeds the images of a path or PRESET:PATH: unit vectors (N, D) float32 with ids, people and rejects.

    They are in ``embedded`` of the result: ``embedded.vectors``, ``embedded.ids`` and ``embedded.people``.
    With ``out``, the vectors are stored in ``out/vectors.npy``, and shards for the next time in ``store`` (default
    ``out/shards``). Without it, nothing is left on disk but the shards in ``store``. Raises SettingError, SourceError
    or ModelError for input that cannot be used.
    """
    if aligned not in ALIGNED:
        raise SettingError(f"aligned should be auto, yes or no, got {aligned}")
    if device not in DEVICES:
        raise SettingError(f"device should be one of {', '.join(DEVICES)}, got {device}")
    where, preset = resolve(str(place))
    if preset is not None and preset.established:
        labels = (preset.labels or labels) if labels == "auto" else labels
        aligned = (preset.aligned or aligned) if aligned == "auto" else aligned
    source = open_source(where, LabelRule.parse(labels))
    channel = FaceChannel(model, device)
    check_model(channel.model)
    if channel.model.fallback:
        logger.warning("%s", channel.model.fallback)
    alignment = resolve_alignment(source, aligned, "images")
    preprocessor = ImagePreprocessor([channel], alignment, open_detector(detector))
    with contextlib.ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        storage = open_storage(store if store is not None else folder / "shards")
        paths = [folder / "vectors.npy"]
        found = embed_source(source, preprocessor, storage, paths, workers=workers, progress=progress)
        if out is None:
            in_memory = replace(found.embedded, vectors=np.array(found.embedded.vectors))
            found = replace(found, embedded=in_memory)
        return replace(found, model_name=channel.model.spec.name)
