"""A container written again without some of its images."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from unveil.errors import ImageError, SettingError, SourceError
from unveil.images.blob import LocalBlob
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.images.readers.bgr import BgrSource
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.shards import ShardedSource
from unveil.images.readers.table import TableSource
from unveil.images.registry import open_source
from unveil.images.source import Source
from unveil.images.writers.as_folder import write_as_folder
from unveil.images.writers.registry import WRITERS
from unveil.images.writers.table import write_splits
from unveil.io.atomic import explained_full_disk
from unveil.io.folders import exclusive
from unveil.io.private import make_private


def write_without(source: Source, out: Path, removed: Collection[str], *, as_folder: bool = False) -> Path:
    """Writes a container without the images whose ids are in ``removed`` into a new folder, under its own name.

    The copy is then compared with the original byte for byte. With ``as_folder``, images become files in a folder. A
    process that is killed leaves no partial copy. Raises SettingError when the folder exists or the container cannot be
    written, and SourceError when the copy is wrong.
    """
    if out.exists():
        raise SettingError(f"--copy {out} exists already; name a new folder")
    partial = out.with_name(f".{out.name}.unveil-copy.tmp")
    if partial.is_symlink():
        raise SettingError(f"--copy: expected a place for the copy, found a link at {partial}. Remove it")
    with exclusive(partial):  # another process may write the same copy
        _write_copy(source, out, partial, frozenset(removed), as_folder)
    return out


def _write_copy(source: Source, out: Path, partial: Path, removed: frozenset[str], as_folder: bool) -> None:
    """Writes the copy under a temporary name, compares it with the original, and renames it."""
    inner = source.inner if isinstance(source, BgrSource) else source
    try:
        _empty(partial)
        if as_folder:
            if isinstance(source, EmbeddingSource):
                raise SettingError("embeddings are no images, which a folder could hold; leave out --as-folder")
            with explained_full_disk(out.parent):
                write_as_folder(source, partial, removed)
            _compare(source, removed, Location(str(partial), "folder"))
        elif isinstance(inner, EmbeddingSource):
            _write(inner, partial, removed)
            _count(inner, removed, partial)
        else:
            _check_list_inside(inner)
            _write(inner, partial, removed)
            _compare(inner, removed, _place(inner, partial))
        if out.exists():
            raise SettingError(f"--copy: expected a new folder, found {out}, which another process made. Name another")
        partial.rename(out)
    except ImageError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise SourceError(f"{source.where}: it cannot be copied ({error}); use --as-folder") from None
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_list_inside(source: Source) -> None:
    """SettingError when the labels lie in a list beside the container, whose rows get other numbers in a copy."""
    first = source.parts[0] if isinstance(source, ShardedSource) else source
    if source.rule.kind == "list" and source.rule.argument not in getattr(first, "label_files", ()):
        raise SettingError(
            f"--copy: expected labels inside {source.where}, found them in {source.rule.argument} beside it, which is "
            "not copied. Use --as-folder, which makes a folder for each person"
        )


def _empty(folder: Path) -> None:
    """Removes what a killed process left of a copy."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write(source: Source, out: Path, removed: frozenset[str]) -> None:
    with explained_full_disk(out.parent):
        _write_parts(source, out, removed)


def _write_parts(source: Source, out: Path, removed: frozenset[str]) -> None:
    if isinstance(source, ShardedSource):
        for name, part in zip(source.names, source.parts, strict=True):
            own = frozenset(id.removeprefix(f"{name}/") for id in removed if id.startswith(f"{name}/"))
            if any(record.id not in own for record in part.records):
                # Shards in several folders may have one name.
                folder = out / Path(name).parent
                make_private(folder)
                _write_parts(part, folder, own)
        if isinstance(source.parts[0], TableSource) and isinstance(source.parts[0].blob, LocalBlob):
            write_splits(Path(source.where), out)
        return
    writer = WRITERS.get(type(source))
    if writer is None:
        raise SettingError(f"a {source.kind} is read but not written; use --as-folder")
    writer(source, out, removed)


def _count(source: EmbeddingSource, removed: frozenset[str], out: Path) -> None:
    """SourceError unless the copy has as many embeddings as stay."""
    expected = sum(record.id not in removed for record in source.records)
    if len(open_source(f"embeddings:{out / 'embeddings.npz'}").records) != expected:
        raise SourceError(f"{out}: {expected} embeddings should have been written")


def _compare(source: Source, removed: frozenset[str], out: Location) -> None:
    """SourceError unless the copy holds what was not removed, each image as often as before."""
    # People do not matter for the bytes.
    copy = open_source(out, LabelRule("none"))
    before = _digests(source, removed)
    after = _digests(copy, frozenset())
    if before != after:
        missing, extra = (before - after).total(), (after - before).total()
        raise SourceError(
            f"{out.target}: {before.total()} images were to be copied, {missing} are missing and {extra} others are "
            "there; check that the disk is not full and the original did not change"
        )


def _place(source: Source, out: Path) -> Location:
    """Where the copy of a container lies, with the columns that its reader was told to use."""
    if isinstance(source, ListSource):
        return Location(str(out / source.path.name), "list")
    first = source.parts[0] if isinstance(source, ShardedSource) else source
    columns = {name: value for name, value in first.options.items() if name in ("image", "label")}
    return Location(str(out), first.kind.lower() if columns else None, columns)


def _digests(source: Source, removed: frozenset[str]) -> Counter[str]:
    """How often each image file occurs, by its SHA-256."""
    found: Counter[str] = Counter()
    for record in source.records:
        if record.id not in removed:
            try:
                found[hashlib.sha256(source.read(record)).hexdigest()] += 1
            except ImageError:
                continue
    return found
