"""The readers of all containers, and the choice of the right one by what a location holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from unveil.errors import SettingError, SourceError
from unveil.images.blob import Blob, LocalBlob, RemoteBlob, is_folder
from unveil.images.candidates import candidates
from unveil.images.label_rule import LabelRule
from unveil.images.labels import labels_beside
from unveil.images.location import Location
from unveil.images.readers.arrow import ArrowSource
from unveil.images.readers.bgr import BgrSource
from unveil.images.readers.bin_pickle import VerificationSource
from unveil.images.readers.embeddings import EmbeddingSource
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.folder import FolderSource
from unveil.images.readers.grid import GridSource
from unveil.images.readers.hdf5 import HDF5Source
from unveil.images.readers.lmdb import LMDBSource
from unveil.images.readers.parquet import ParquetSource
from unveil.images.readers.recordio import RecordIOSource
from unveil.images.readers.remote_folder import RemoteFolderSource
from unveil.images.readers.resolutions import compared_with
from unveil.images.readers.shards import ShardedSource, expand_braces
from unveil.images.readers.tar import TarSource
from unveil.images.readers.tfrecord import TFRecordSource, highest_resolution, resolution_of
from unveil.images.readers.zip import ZipSource
from unveil.images.sniff import form_of
from unveil.images.source import Source, complete
from unveil.io.remote import is_address

R = TypeVar("R", bound=str)
ReaderOptions = dict[str, str]
# Containers of files, which may hold a list of labels.
ARCHIVES = ("zip", "tar")
# The reader of one file of each form.
READERS: dict[str, Callable[[Blob, LabelRule, ReaderOptions], Source]] = {
    "zip": ZipSource,
    "tar": TarSource,
    "recordio": RecordIOSource,
    "bin": VerificationSource,
    "tfrecord": TFRecordSource,
    "lmdb": LMDBSource,
    "parquet": ParquetSource,
    "arrow": ArrowSource,
    "hdf5": HDF5Source,
    "embeddings": EmbeddingSource,
}
NOT_READ = {
    "compressed": "it is a compressed file that is no tar; unpack it, so that its images can be read by themselves",
    "image": "it is one image; give its folder, or a list of images",
    "empty": "the file is empty",
    "other": "it begins with {head!r}, which is none of the containers that unveil reads; unpack it, or list its "
    "images in a text file, one `path label` a line",
}


def open_source(where: str | Path | Location, rule: LabelRule | None = None, *, follow_links: bool = False) -> Source:
    """The source at a location: a folder, a list or a container, recognised by its first bytes or by its stated form.

    Raises SourceError when there is nothing, when the form is unknown, or when it is in doubt, and SettingError for an
    option that cannot be used.
    """
    if not isinstance(follow_links, bool):
        raise SettingError(f"follow_links should be True or False, got {follow_links!r}")
    location = where if isinstance(where, Location) else Location.parse(str(where))
    source = _open(location, rule or LabelRule(), follow_links)
    return complete(BgrSource(source) if location.options.get("channels") == "bgr" else source)


def open_sources(
    locations: Mapping[R, Location], rules: Mapping[R, LabelRule], *, follow_links: bool
) -> dict[R, Source]:
    """The source of each role or set, as `open_source` opens it; without a rule of its own, ``auto`` decides."""
    return {
        name: open_source(location, rules.get(name), follow_links=follow_links) for name, location in locations.items()
    }


def _open(location: Location, rule: LabelRule, follow_links: bool) -> Source:
    if location.form == "grid":
        sheets = _open(Location(location.target), rule if rule.kind == "list" else LabelRule("none"), follow_links)
        return GridSource(sheets, rule, location.options)
    braces = "{" in location.target and not location.path.exists()
    files = expand_braces(location.target) if braces else [location.target]
    if len(files) > 1:
        blobs = [_blob(file, follow_links) for file in files]
        return _sharded(
            location.target, _relative(files), blobs, location.form or form_of(blobs[0]), rule, location.options
        )
    if location.remote and (location.form == "folder" or is_folder(location.target)):
        return RemoteFolderSource(location.target, rule)
    if location.remote:
        blob = RemoteBlob(location.target)
        return _read(blob, location.form or form_of(blob), rule, location.options)
    return _open_local(location, rule, follow_links)


def _open_local(location: Location, rule: LabelRule, follow_links: bool) -> Source:
    path = location.path
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if location.form == "folder":
        return FolderSource(path, rule, follow_links=follow_links)
    if location.form == "list":
        return ListSource(path, rule, location.options, follow_links=follow_links)
    if location.form is not None and path.is_file():
        # The reader reports when the bytes are those of another form.
        return _read(LocalBlob(path, follow_links=follow_links), location.form, rule, location.options)
    found = candidates(path, location.form, follow_links=follow_links)
    if not found:
        raise SourceError(f"{path}: no {location.form} in it")
    if len(found) > 1:
        ways = " or ".join(f"{c.form}:{c.files[0] if len(c.files) == 1 else path}" for c in found)
        raise SourceError(f"{path}: it can be read in several ways; say which: {ways}")
    (one,) = found
    if one.form == "folder":
        return FolderSource(path, rule, follow_links=follow_links)
    if one.form == "list":
        return ListSource(path, rule, location.options, follow_links=follow_links)
    blobs = [LocalBlob(file, follow_links=follow_links) for file in one.files or (path,)]
    source = _containers(path, blobs, one.form, rule, location.options)
    source.notes += one.notes
    return source


def _containers(folder: Path, blobs: list[LocalBlob], form: str, rule: LabelRule, options: ReaderOptions) -> Source:
    """Containers of one form in a folder, as one source."""
    if (
        len(blobs) > 1
        and form == "tfrecord"
        and (best := highest_resolution([blob.path for blob in blobs])) is not None
    ):
        source = _read(next(blob for blob in blobs if blob.path == best), form, rule, options)
        notes = [f"of {len(blobs)} files, one a resolution, the highest is read: {best.name}"]
        lower = sorted((blob for blob in blobs if blob.path != best), key=lambda blob: resolution_of(blob.path))
        if all(_is_lower(source, best, blob, options, notes) for blob in reversed(lower)):
            source.notes += notes
            return source
    return _sharded(
        str(folder), [blob.path.relative_to(folder).as_posix() for blob in blobs], blobs, form, rule, options
    )


def _is_lower(source: Source, best: Path, blob: LocalBlob, options: ReaderOptions, notes: list[str]) -> bool:
    """Whether a file holds the images of the ``source`` in fewer pixels; otherwise it may be another part of the set.

    Adds a note if some are other images. Raises SourceError if most are, or if there are more or fewer.
    """
    lower = _read(blob, "tfrecord", LabelRule("none"), options)
    n, scale = len(source.records), 2.0 ** (resolution_of(blob.path) - resolution_of(best))
    sample = compared_with(
        min(n, len(lower.records)),
        *(lambda k: source.read(source.records[k]), lambda k: lower.read(lower.records[k])),
        scale,
    )
    if not sample.is_one:
        return False
    if len(lower.records) != n:
        raise SourceError(
            f"{lower.where}: expected the {n} images of {best.name} in fewer pixels, found {len(lower.records)}. If "
            f"they are other images, move the file into a folder of its own; if not, name {best.name} itself"
        )
    note = sample.note(blob.name, best.name)
    notes += [] if note is None else [note]
    return True


def _relative(files: list[str]) -> list[str]:
    """The paths of several files relative to the folder that they share."""
    parts = [file.split("/") for file in files]
    shared = 0
    while len({tuple(part[: shared + 1]) for part in parts}) == 1 and all(len(part) > shared + 1 for part in parts):
        shared += 1
    return ["/".join(part[shared:]) for part in parts]


def _sharded(
    where: str,
    names: list[str],
    blobs: list[Blob] | list[LocalBlob],
    form: str,
    rule: LabelRule,
    options: ReaderOptions,
) -> Source:
    if len(blobs) == 1:
        return _read(blobs[0], form, rule, options)
    if form == "embeddings":
        raise SourceError(f"{where}: one file of embeddings was expected, there are {len(blobs)}; name one")

    def part(blob: Blob) -> Callable[[LabelRule], Source]:
        return lambda rule: _read(blob, form, rule, options)

    parts = [(name, part(blob)) for name, blob in zip(names, blobs, strict=True)]
    # An archive holds its list; any other container has it beside it, for all files of the set.
    return ShardedSource(where, parts, rule, None if form in ARCHIVES else labels_beside(rule, blobs[0]))


def _read(blob: Blob, form: str, rule: LabelRule, options: ReaderOptions) -> Source:
    reader = READERS.get(form)
    if reader is None:
        why = NOT_READ.get(form, "a container of this form has to lie on a disk of this machine")
        raise SourceError(f"{blob.where}: " + why.format(path=blob.where, head=blob.read(0, 8)))
    try:
        return reader(blob, rule, options)
    except SourceError as error:
        if blob.where in str(error):
            raise
        # What decides a single value does not know where it is.
        raise SourceError(f"{blob.where}: {error}") from None


def _blob(name: str, follow_links: bool) -> Blob:
    return RemoteBlob(name) if is_address(name) else LocalBlob(Path(name), follow_links=follow_links)
