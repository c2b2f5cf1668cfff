"""A container once more, without some of its pictures."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.readers.arrow import TableSource
from unveil.images.readers.bgr import BgrSource
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.folder import FolderSource
from unveil.images.readers.recordio import RecordIOSource
from unveil.images.readers.shards import ShardedSource
from unveil.images.readers.tar import TarSource
from unveil.images.readers.tfrecord import TFRecordSource
from unveil.images.readers.zip import ZipSource
from unveil.images.registry import open_source
from unveil.images.source import Source
from unveil.images.writers.archives import write_tar, write_zip
from unveil.images.writers.files import write_as_folder, write_folder, write_list
from unveil.images.writers.records import write_recordio, write_tfrecord
from unveil.images.writers.tables import write_columns, write_embeddings

WRITERS: dict[type[Source], Callable[[Any, Path, Collection[str]], None]] = {
    FolderSource: write_folder,
    ListSource: write_list,
    ZipSource: write_zip,
    TarSource: write_tar,
    RecordIOSource: write_recordio,
    TFRecordSource: write_tfrecord,
    TableSource: write_columns,
    EmbeddingSource: write_embeddings,
}


def write_without(source: Source, out: Path, removed: Collection[str], *, as_folder: bool = False) -> Path:
    """Writes a container without some of its pictures into a new folder, under its own name, and compares what was
    written with what it was made from, byte for byte.

    With ``as_folder`` pictures become files in a folder. Raises SettingError for a folder that is there already and for
    a container that is not written, and SourceError when the copy is not what it should be. A kill
    leaves no half of it.
    """
    if out.exists():
        raise SettingError(f"--copy {out} is there already; name a new folder")
    removed = frozenset(removed)
    inner = source.inner if isinstance(source, BgrSource) else source
    half = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        if as_folder:
            write_as_folder(source, half, removed)
        else:
            _write(inner, half, removed)
        _compare(source if as_folder else inner, removed, half)
        half.rename(out)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return out


def _write(source: Source, out: Path, removed: frozenset[str]) -> None:
    if isinstance(source, ShardedSource):
        for name, part in zip(source.names, source.parts, strict=True):
            own = frozenset(id.removeprefix(f"{name}/") for id in removed if id.startswith(f"{name}/"))
            if any(record.id not in own for record in part.records):
                _write(part, out, own)
        return
    writer = WRITERS.get(type(source))
    if writer is None:
        raise SettingError(f"a {source.kind} is read and not written; use --as-folder")
    writer(source, out, removed)


def _compare(source: Source, removed: frozenset[str], out: Path) -> None:
    """SourceError unless the copy holds what was kept, each picture as often as before."""
    if isinstance(source, EmbeddingSource):
        kept = len(source.records) - len(removed)
        if len(open_source(f"embeddings:{out / 'embeddings.npz'}").records) != kept:
            raise SourceError(f"{out}: {kept} embeddings should have been written")
        return
    # Who is who does not change the bytes.
    copy = open_source(out / source.path.name if isinstance(source, ListSource) else out, LabelRule("none"))
    before = _digests(source, removed)
    after = _digests(copy, frozenset())
    if before != after:
        missing, strange = (before - after).total(), (after - before).total()
        raise SourceError(
            f"{out}: of {before.total()} pictures {missing} were not written as they are and {strange} are others; "
            "is the disk full, or was the set changed meanwhile?"
        )


def _digests(source: Source, removed: frozenset[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in source.records:
        if record.id not in removed:
            try:
                found[hashlib.sha256(source.read(record)).hexdigest()] += 1
            except ImageError:
                continue
    return found
