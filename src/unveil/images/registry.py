"""The choice of the right reader, by what a place holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.blob import Blob, LocalBlob, RemoteBlob, is_folder
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.images.readers.arrow import TableSource
from unveil.images.readers.bgr import BgrSource
from unveil.images.readers.bin_pickle import VerificationSource
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.folder import FolderSource, RemoteFolderSource
from unveil.images.readers.grid import GridSource
from unveil.images.readers.hdf5 import HDF5Source
from unveil.images.readers.lmdb import LMDBSource
from unveil.images.readers.recordio import RecordIOSource
from unveil.images.readers.shards import ShardedSource, expand_braces
from unveil.images.readers.tar import TarSource
from unveil.images.readers.tfrecord import TFRecordSource, highest_resolution
from unveil.images.readers.zip import ZipSource
from unveil.images.sniff import candidates, form_of
from unveil.images.source import Source
from unveil.io.remote import is_address

ReaderOptions = dict[str, str]
# How one file of each form is read.
READERS: dict[str, Callable[[Blob, LabelRule, ReaderOptions], Source]] = {
    "zip": lambda blob, rule, _: ZipSource(blob, rule),
    "tar": lambda blob, rule, _: TarSource(blob, rule),
    "recordio": lambda blob, rule, _: RecordIOSource(blob, rule),
    "bin": lambda blob, rule, _: VerificationSource(blob, rule),
    "tfrecord": lambda blob, rule, _: TFRecordSource(blob, rule),
    "lmdb": lambda blob, rule, _: LMDBSource(blob, rule),
    "parquet": lambda blob, rule, options: TableSource(blob, rule, "parquet", options),
    "arrow": lambda blob, rule, options: TableSource(blob, rule, "arrow", options),
    "hdf5": HDF5Source,
    "embeddings": EmbeddingSource,
}
NOT_READ = {
    "gzip": "it is compressed as a whole, so that no picture in it can be reached by itself; unpack it: gunzip {path}",
    "image": "it is one image; give the folder it lies in, or a list of images",
    "empty": "the file is empty",
    "other": "it begins with {head!r}, which is none of the containers that unveil reads; unpack it, or list its "
    "pictures in a text file, one `path label` a line",
}


def open_source(where: str | Path | Location, rule: LabelRule | None = None, *, follow_links: bool = False) -> Source:
    """The reader for a folder, a list or a container of pictures, told by its first bytes or by the place's form.

    Raises SourceError when there is nothing there, when the form is not known, or when it is in doubt.
    """
    place = where if isinstance(where, Location) else Location.parse(str(where))
    rule = rule or LabelRule()
    source = _open(place, rule, follow_links)
    return BgrSource(source) if place.options.get("channels") == "bgr" else source


def _open(place: Location, rule: LabelRule, follow_links: bool) -> Source:
    if place.form == "grid":
        sheets = _open(Location(place.target), LabelRule("none"), follow_links)
        return GridSource(sheets, rule, place.options)
    names = expand_braces(place.target) if "{" in place.target and not place.path.exists() else [place.target]
    if len(names) > 1:
        blobs = [_blob(name) for name in names]
        return _sharded(place.target, blobs, place.form or form_of(blobs[0]), rule, place.options)
    if place.remote and (place.form == "folder" or is_folder(place.target)):
        return RemoteFolderSource(place.target, rule)
    if place.remote:
        blob = RemoteBlob(place.target)
        return _read(blob, place.form or form_of(blob), rule, place.options)
    return _open_local(place, rule, follow_links)


def _open_local(place: Location, rule: LabelRule, follow_links: bool) -> Source:
    path = place.path
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if place.form == "folder":
        return FolderSource(path, rule, follow_links=follow_links)
    if place.form == "list":
        return ListSource(path, rule, follow_links=follow_links)
    if place.form is not None and path.is_file():
        # The reader has the last word on what its bytes say.
        return _read(LocalBlob(path), place.form, rule, place.options)
    found = [c for c in candidates(path, follow_links=follow_links) if place.form in (None, c.form)]
    if not found:
        raise SourceError(f"{path}: no {place.form} in it")
    if len(found) > 1:
        ways = " or ".join(f"{c.form}:{c.file if c.file is not None else path}" for c in found)
        raise SourceError(f"{path}: it can be read in several ways; say which: {ways}")
    (one,) = found
    if one.form == "folder":
        return FolderSource(path, rule, follow_links=follow_links)
    if one.form == "list":
        return ListSource(path, rule, follow_links=follow_links)
    file = one.file or path
    if file.is_dir():
        return _of_folder(file, one.form, rule, place.options)
    return _read(LocalBlob(file), one.form, rule, place.options)


def _of_folder(folder: Path, form: str, rule: LabelRule, options: ReaderOptions) -> Source:
    """All containers of one form in a folder."""
    blobs = [LocalBlob(file) for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
    blobs = [blob for blob in blobs if form_of(blob) == form]
    if not blobs:
        raise SourceError(f"{folder}: no {form} in it")
    if form == "tfrecord" and (best := highest_resolution([blob.path for blob in blobs])) is not None:
        source = _read(LocalBlob(best), form, rule, options)
        source.notes.append(f"of {len(blobs)} files, one a resolution, the highest is read: {best.name}")
        return source
    return _sharded(str(folder), blobs, form, rule, options)


def _sharded(
    where: str, blobs: list[Blob] | list[LocalBlob], form: str, rule: LabelRule, options: ReaderOptions
) -> Source:
    if len(blobs) == 1:
        return _read(blobs[0], form, rule, options)
    if form == "embeddings":
        raise SourceError(f"{where}: several files of embeddings; name one")

    def part(blob: Blob) -> Callable[[LabelRule], Source]:
        return lambda rule: _read(blob, form, rule, options)

    return ShardedSource(where, [(blob.name, part(blob)) for blob in blobs], rule)


def _read(blob: Blob, form: str, rule: LabelRule, options: ReaderOptions) -> Source:
    reader = READERS.get(form)
    if reader is None:
        why = NOT_READ.get(form, "this form has to lie on this machine's disk")
        raise SourceError(f"{blob.where}: " + why.format(path=blob.where, head=blob.read(0, 8)))
    return reader(blob, rule, options)


def _blob(name: str) -> Blob:
    return RemoteBlob(name) if is_address(name) else LocalBlob(Path(name))
