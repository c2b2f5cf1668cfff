"""A source of images to the vectors of a role: partitions into shards, and shards into one file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from unveil.channels import FaceChannel, open_detector
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.channels.base import ImageArray
from unveil.choices import ALIGNED, DEVICES, Aligned
from unveil.columns import BLOCK, Texts
from unveil.embedding.crash_marker import mark_in_progress
from unveil.embedding.pipeline import (
    EmbeddedPartition,
    ImagePreprocessor,
    PipelineSizes,
    embed_partitions,
    merge_rows,
    open_stores,
    select_common,
    split_records,
)
from unveil.embedding.shards import ShardRow, ShardStore, write_vectors
from unveil.errors import ImageError, SettingError, SourceError
from unveil.faces.probe import check_model
from unveil.faces.trial import try_models
from unveil.images import LabelRule, Remark, Source, decode_rgb, image_size, open_source
from unveil.images.archives import ARCHIVE
from unveil.images.source import MAX_LIST_BYTES, read_file
from unveil.images.unread import first_notes, shown_names
from unveil.io.host import cores
from unveil.io.run_directory import IN_PROGRESS
from unveil.io.storage import Storage, open_storage
from unveil.io.text import same_but_for_form
from unveil.io.trust import StoreKey
from unveil.presets import resolve
from unveil.progress import Progress, Silent
from unveil.types import ChannelVectors, Embedded, Floats, ImageRecord, Ints, Records, Reject

logger = logging.getLogger(__name__)

# To decide the alignment: images whose size is read, and for each common size images whose landmarks are compared.
SIZE_SAMPLE, ALIGNMENT_SAMPLE = 400, 48
MIN_SHARE_OF_SIZE = 0.01

# The store in the folder of embeddings, where no other is named.
SHARDS = "shards"

# The row of an image that is excluded: it is neither embedded nor rejected.
EXCLUDED = ShardRow("", "read", "excluded")


@dataclass(frozen=True)
class EmbeddedSource:
    """The result of a source: vectors and ids of the embedded images, and all other images as rejects.

    ``embedded`` holds the vectors, ids and people, ``rejects`` the images without a usable face. ``n_images`` is the
    number of both. ``alignment``, ``label_rule``, ``kind`` and ``notes`` say how the source was read; ``sha256``
    identifies it.
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
    notes: tuple[str, ...] = ()
    left_out: int = 0  # images that a list, an option or an index leaves out; they are not among ``n_images``
    n_different_rejects: int = 0  # rejects that repeat another one byte for byte count once
    rejected_people: tuple[str | None, ...] = ()  # the label of each reject

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
        stores = open_stores(storage, preprocessor)
        partitions = split_records(records, sizes.images_per_shard)
        with mark_in_progress(vectors_paths[0].with_suffix(IN_PROGRESS), label) as mark:
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
    others = sum(partition.others for partition in done)
    if others:
        logger.warning(
            "%s: %d of %d shards in %s were made by another user, with another key or by an earlier version, so they "
            "were not used and the images were embedded again. Add --trust-store if you trust everybody who can write "
            "there, or set UNVEIL_KEY to a file that lasts from one start to the next",
            *(label, others, len(done), storage.where),
        )
    merged = [merge_rows(partition.rows) for partition in done]
    if exclude:
        merged = _exclude(source.records.ids, merged, exclude)
    rows = ImageRows.of(row for part in merged for row in part)
    n_embedded = len(rows.embedded)
    by_recipe = {
        recipe: ShardStore(storage, recipe, channel.dimension)
        for partition in done
        for recipe, channel in zip(partition.recipes, channels, strict=True)
    }
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


def _exclude(all_ids: Texts, merged: Sequence[Sequence[ShardRow]], excluded: frozenset[str]) -> list[list[ShardRow]]:
    remaining = iter(all_ids)
    return [[EXCLUDED if next(remaining) in excluded else row for row in part] for part in merged]


@dataclass(frozen=True)
class ImageRows:
    """What became of all images (N,) of a source, in columns.

    ``content`` (N,) is the digest of each image, or the reason why it has none. ``embedded`` (M,) are the rows of the
    embedded ones, with the ``quality`` (M, K) of each; ``rejected`` and ``excluded`` are the others. ``remarks``
    names the rows (K,) of which each holds.
    """

    content: Texts
    embedded: Ints
    rejected: Mapping[int, ShardRow]
    excluded: Ints
    quality: Floats | None = None
    n_multiple_faces: int = 0
    remarks: Mapping[Remark, Ints] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[ShardRow]) -> ImageRows:
        """The columns of rows; those that are `EXCLUDED` are left out."""
        contents, embedded, quality = list[Texts](), list[int](), list[Floats]()
        rejected, excluded, n_multiple_faces, start = dict[int, ShardRow](), list[int](), 0, 0
        remarks: dict[str, list[int]] = {}
        remaining = iter(rows)
        while block := list(islice(remaining, BLOCK)):
            contents.append(Texts([row.digest or row.reason for row in block]))
            good = [row for row in block if row.stage is None]
            if good:
                quality.append(np.array([row.quality for row in good], np.float64).reshape(len(good), -1))
            n_multiple_faces += sum(row.n_faces > 1 for row in good)
            for i, row in enumerate(block, start):
                if row.stage is None:
                    embedded.append(i)
                    for remark in row.detail.split(",") if row.detail else ():
                        remarks.setdefault(remark, []).append(i)
                elif row is EXCLUDED:
                    excluded.append(i)
                else:
                    rejected[i] = row
            start += len(block)
        return cls(
            *(Texts.joined(contents), np.array(embedded, np.int64), rejected, np.array(excluded, np.int64)),
            np.concatenate(quality) if quality and quality[0].shape[1] else None,
            n_multiple_faces,
            {remark: np.array(remarks[remark], np.int64) for remark in Remark if remark in remarks},
        )


def collect(
    source: Source, rows: ImageRows, views: Sequence[ChannelVectors], alignment: ImageAlignment
) -> EmbeddedSource:
    """The result of a source from the rows of its images and the vectors of the embedded ones.

    Excluded images are left out. Raises SourceError if nothing is left or embedded.
    """
    records = source.records
    rejects = [Reject(records.ids[i], r.stage, r.reason, r.detail) for i, r in rows.rejected.items() if r.stage]
    if len(rows.excluded) == len(records):
        raise SourceError(f"{source.where}: every image is excluded; shorten the list of --exclude")
    if not len(rows.embedded):
        (reason, n), *_ = Counter(f"{r.stage}: {r.reason}" for r in rejects).most_common(1)
        raise SourceError(
            f"{source.where}: none of its {len(rejects)} files gave a face; {n} times `{reason}` "
            f"(`{rejects[0].id}`: {rejects[0].reason} {rejects[0].detail})"
        )
    notes = list(source.notes)
    if len(rows.excluded):
        notes.append(f"not compared: {len(rows.excluded):,} of {len(records):,} images, which --exclude names")
    archives = [reject.id for reject in rejects if reject.reason == ARCHIVE]
    if archives:
        notes.append(f"not read: {len(archives):,} archives, documents and videos, not opened: {shown_names(archives)}")
    for remark, found in rows.remarks.items():
        notes.append(remark.note(records.ids.take(found)))
        logger.info("%s: %s", source.where, notes[-1])
    everything = len(rows.embedded) == len(records)
    embedded = Embedded(
        ids=records.ids if everything else records.ids.take(rows.embedded),
        people=records.people if everything else records.people.take(rows.embedded),
        digests=rows.content if everything else rows.content.take(rows.embedded),
        vectors=views[0].vectors,
        model_id=views[0].model_id,
        recipe=views[0].recipe,
        quality=rows.quality,
        views=tuple(views[1:]),
    )
    return EmbeddedSource(
        embedded,
        tuple(rejects),
        len(records) - len(rows.excluded),
        alignment,
        str(source.rule),
        source.kind,
        records_sha256(records, rows.content, rows.excluded),
        rows.n_multiple_faces,
        notes=tuple(notes),
        left_out=len(rows.excluded) + source.left_out,
        # What cannot be read has no digest.
        n_different_rejects=len({row.digest or i for i, row in rows.rejected.items()}),
        rejected_people=tuple(records.people.take(np.array([*rows.rejected], np.int64))),
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

    left_out = excluded_rows(source, excluded)
    reading = (record for record in source.records if record.id not in excluded)
    contents = Texts.joined(
        Texts([digest(record) for record in block]) for block in iter(lambda: list(islice(reading, BLOCK)), [])
    )
    return records_sha256(source.records, contents, left_out)


def excluded_rows(source: Source, excluded: frozenset[str]) -> Ints:
    """The rows of the images with these ids."""
    if not excluded:
        return np.zeros(0, np.int64)
    return np.flatnonzero(source.records.ids.are_in(Texts(list(excluded))))


def records_sha256(records: Records, content: Texts, excluded: Ints) -> str:
    """The hash of the records outside the ``excluded`` rows, each with its content.

    ``content`` is the digest of each image, or the reason why it has none, with or without the excluded ones.
    """
    included = np.setdiff1d(np.arange(len(records)), excluded) if len(excluded) else None
    ids, people = records.ids, records.people
    if included is not None:
        ids, people = ids.take(included), people.take(included)
        content = content if len(content) == len(included) else content.take(included)
    sha256 = hashlib.sha256()
    rows = zip(ids, people, content, strict=True)
    while text := "".join(f"{id}\0{person}\0{of_image}\n" for id, person, of_image in islice(rows, BLOCK)):
        sha256.update(text.encode())
    return sha256.hexdigest()


def resolve_alignment(source: Source, aligned: Aligned, label: str) -> ImageAlignment:
    """As `decide_alignment`; logs the source, the decision and its reason."""
    alignment = decide_alignment(source, aligned)
    logger.info(
        "%s: %d files in a %s, %s; %s",
        *(label, len(source.records), source.kind, source.rule.description, alignment.description),
    )
    logger.debug("%s: %s", label, alignment.reason)
    for note in first_notes(source.notes, others="; all will be in manifest.json"):
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
        are_aligned, reason = detect_aligned_crops(_decoded(source, sample_evenly(records, ALIGNMENT_SAMPLE)))
        if are_aligned:
            sides.append(side)
        reasons.append(f"{side} x {side}: {reason}")
    return ImageAlignment(frozenset(sides), "; ".join(reasons) or "no square size is common among the images")


def _decoded(source: Source, records: Iterable[ImageRecord]) -> Iterator[ImageArray]:
    """The pixels of those images that can be decoded, one at a time."""
    for record in records:
        with contextlib.suppress(ImageError):
            yield decode_rgb(source.read(record))


def sample_evenly(records: Sequence[ImageRecord], n: int) -> list[ImageRecord]:
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
    listed = Texts(list(ids))
    unknown = {listed[i] for i in np.flatnonzero(~listed.are_in(source.records.ids))}
    # A text editor or another system may write an accent in another way, which looks alike.
    for written, found in same_but_for_form(unknown, source.records.ids).items():
        if len(found) > 1:
            raise SourceError(
                f"{path}: expected the id of one image, found `{written}`, which {len(found)} images of {source.where} "
                "have that write letters and accents in other ways. Copy the ids from images.parquet of a run"
            )
        unknown.discard(written)
        ids = ids - {written} | {found[0]}
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
    trust_store: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> EmbeddedSource:
    """Embeds the images of a path or PRESET:PATH: unit vectors (N, D) float32 with ids, people and rejects.

    They are in ``embedded`` of the result: ``embedded.vectors``, ``embedded.ids`` and ``embedded.people``.
    With ``out``, the vectors are stored in ``out/vectors.npy``, and shards for the next time in ``store`` (default
    ``out/shards``). Without it, nothing is left on disk but the shards in ``store``. Those that other users made are
    used with ``trust_store`` only. Raises SettingError, SourceError
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
    try_models((model,), detector)
    channel = FaceChannel(model, device)
    check_model(channel.model)
    if channel.model.fallback:
        logger.warning("%s", channel.model.fallback)
    alignment = resolve_alignment(source, aligned, "images")
    preprocessor = ImagePreprocessor([channel], alignment, open_detector(detector))
    with contextlib.ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key = StoreKey.own(trusts_others=trust_store)
        if store is None and (folder / SHARDS).is_symlink():
            raise SettingError(f"{folder / SHARDS}: expected a folder of embeddings, found a link. Name another folder")
        storage = open_storage(store if store is not None else folder / SHARDS, key)
        paths = [folder / "vectors.npy"]
        found = embed_source(source, preprocessor, storage, paths, workers=workers, progress=progress)
        if out is None:
            in_memory = replace(found.embedded, vectors=np.array(found.embedded.vectors))
            found = replace(found, embedded=in_memory)
        return replace(found, model_name=channel.model.spec.name)
