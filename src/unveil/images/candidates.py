"""The ways to read a path, and the files that belong to each. A file that should belong to one is never left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from unveil.errors import SourceError
from unveil.images.blob import LocalBlob
from unveil.images.clutter import is_clutter, is_system_file
from unveil.images.labels import is_image_name
from unveil.images.sniff import NO_CONTAINER, described, form_of
from unveil.images.unread import shown_names
from unveil.io.walk import real_path, walk_whole

# Files of a folder whose first bytes are read whatever their names are.
SAMPLE_FILES = 400
# The form of files with each suffix. Nothing is read by its name: a file with such a name that is none is an error.
SUFFIX_FORMS = {
    **dict.fromkeys((".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tar.zst"), "tar"),
    **dict.fromkeys((".tfrecord", ".tfrecords"), "tfrecord"),
    **dict.fromkeys((".mdb", ".lmdb"), "lmdb"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "hdf5"),
    **{".zip": "zip", ".rec": "recordio", ".rar": "archive", ".7z": "archive"},
}
# The lock that LMDB writes beside its data.
LMDB_LOCK = "lock.mdb"
# Not a file of bytes: a pipe, a socket or a device.
SPECIAL = "special"
# A part of a set, as TensorFlow and Hugging Face name them.
_PART = re.compile(r"(.*?)(\d{1,6})-of-(\d{1,6})(?:-[0-9a-f]{8,})?(.*)", re.DOTALL)
SHOWN_PARTS = 6
_DIGITS = re.compile(r"\d+")
_SUFFIX = re.compile(r"(?:\.tar)?\.[^.]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """One way to read a path: the form, and the files in a folder that have it, unless that is the path itself.

    ``notes`` tell the user what lies beside the files and is not read.
    """

    form: str
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def candidates(path: Path, form: str | None = None, *, follow_links: bool = False) -> list[Candidate]:
    """The ways to read a path on this machine, usually one; with ``form``, at most that one.

    A folder is read as images, as the one container in it, or as all its containers of one form. It is in doubt when
    images lie beside a container, or when there are containers of several forms. Raises SourceError for a folder that
    cannot be listed, and for a file that is named like a container, or like those that are read, and is none: a
    pointer, an empty or damaged file, or a link that is not followed.
    """
    if not path.is_dir():
        blob = LocalBlob(path)
        found = form_of(blob)
        if found == "text" and (expected := SUFFIX_FORMS.get(suffix_of(path.name))):
            raise SourceError(f"{path}: expected a container ({expected}) by its name, found {described(blob)}")
        one = Candidate("list" if found == "text" else found, notes=_absent_parts([path.name]))
        return [one] if form in (None, one.form) else []
    listing = _Listing(path, follow_links)
    listing.read()
    listing.check(form)
    ways = listing.containers()
    if form is not None:
        return [Candidate(form, tuple(ways[form]), listing.notes(form))] if form in ways else []
    ways = {name: files for name, files in ways.items() if not _is_side_file(name, ways)}
    several = [Candidate(name, tuple(files), listing.notes(name)) for name, files in sorted(ways.items())]
    return several if several and "image" not in listing.forms else [Candidate("folder"), *several]


def suffix_of(name: str) -> str:
    """The suffix of a name in small letters, `.tar.gz` as one."""
    found = _SUFFIX.search(name)
    return found[0].lower() if found else ""


def _absent_parts(names: Sequence[str]) -> tuple[str, ...]:
    """Notes on parts of a set, such as `train-00001-of-00003.parquet`, that the names of others state."""
    parts: dict[tuple[str, str, str], dict[int, int]] = {}
    for name in names:
        if found := _PART.fullmatch(name):
            parts.setdefault((found[1], found[3], found[4]), {})[int(found[2])] = len(found[2])
    notes = []
    for (before, of, after), there in parts.items():
        first = 1 if max(there) == int(of) else 0
        numbers = range(first, first + int(of))
        n = len(numbers) - len(there)
        if n > 0:
            width = next(iter(there.values()))
            absent = islice((k for k in numbers if k not in there), SHOWN_PARTS)
            shown = shown_names(f"{before}{k:0{width}d}-of-{of}{after}" for k in absent)
            notes.append(
                f"not there: {n:,} of {int(of):,} parts of the set that the names of the others state: {shown}"
            )
    return tuple(notes)


def _is_side_file(form: str, forms: dict[str, list[Path]]) -> bool:
    """Whether these belong to another container: verification sets and masks lie beside training sets."""
    return (form == "bin" and "recordio" in forms) or (
        form == "embeddings" and ("lmdb" in forms or "tfrecord" in forms)
    )


def _is_of_a_system(file: Path) -> bool:
    """Whether a file is one of an operating system or the lock of a database."""
    return is_system_file(file.name) or file.name == LMDB_LOCK


@dataclass
class _Listing:
    """The files of a folder by their forms, the links that leave it or lead nowhere, and the folders not listed."""

    folder: Path
    follow_links: bool
    forms: dict[str, list[Path]] = field(default_factory=dict)
    links: list[Path] = field(default_factory=list)
    unlisted: list[Path] = field(default_factory=list)

    def read(self) -> None:
        """Recognises the first files, then all if a container is among them, else those not named like other files."""
        files = self._files()
        for file in islice(files, SAMPLE_FILES):
            self._add(file)
        every = bool(self.containers())
        for file in files:
            name = file.rpartition("/")[2]
            # Containers may have no suffix: shards of TFRecord seldom have one.
            if every or suffix_of(name) in SUFFIX_FORMS or not (is_image_name(name) or is_clutter(name)):
                self._add(file)

    def containers(self) -> dict[str, list[Path]]:
        """The containers by their forms; a file that several links name counts once."""
        found = {form: files for form, files in self.forms.items() if form not in (*NO_CONTAINER, SPECIAL)}
        if not self.follow_links:
            return found
        return {
            form: list({real_path(file): file for file in reversed(files)}.values())[::-1]
            for form, files in found.items()
        }

    def check(self, form: str | None) -> None:
        """SourceError for a file, link or folder that may hold a part of what is read; ``form`` is the one wanted."""
        read = [file for name, files in self.containers().items() if form in (None, name) for file in files]
        suffixes = {suffix_of(file.name) for file in read} - {""}
        patterns = {_DIGITS.sub("0", file.name) for file in read}

        def belongs(file: Path) -> bool:
            if _is_of_a_system(file):
                return False
            suffix = suffix_of(file.name)
            named = suffix in SUFFIX_FORMS and form in (None, SUFFIX_FORMS[suffix])
            return named or suffix in suffixes or _DIGITS.sub("0", file.name) in patterns

        broken = [file for name in (*NO_CONTAINER, SPECIAL) for file in self.forms.get(name, []) if belongs(file)]
        if broken:
            file, more = broken[0], f" (and in {len(broken) - 1} more files)" if len(broken) > 1 else ""
            expected = SUFFIX_FORMS.get(suffix_of(file.name), "like those beside it")
            what = described(LocalBlob(file))
            raise SourceError(f"{file}: expected a container ({expected}) by its name, found{more} {what}")
        links = [file for file in self.links if belongs(file)]
        links += [folder for folder in self.unlisted if read]
        if links:
            more = f" ({len(links)} such links)" if len(links) > 1 else ""
            raise SourceError(
                f"{links[0]}: expected a file or folder, found a link out of {self.folder}{more}. Links are not "
                "followed; use --follow-links, or remove it"
            )

    def notes(self, form: str) -> tuple[str, ...]:
        """What lies beside the containers of this form and is not read."""
        notes = list(_absent_parts([file.relative_to(self.folder).as_posix() for file in self.containers()[form]]))
        if self.links:
            names = shown_names(file.relative_to(self.folder).as_posix() for file in self.links)
            notes.append(f"{len(self.links)} links are not followed: {names}; use --follow-links to change that")
        counts, data = list[str](), list[str]()
        for name, found in {**self.forms, **self.containers()}.items():
            files = [file.relative_to(self.folder) for file in found if not _is_of_a_system(file)]
            shown = f"{len(files):,} {name} ({shown_names(file.as_posix() for file in files)})"
            if not files or name == form:
                continue
            is_data = name == "text" or (name == "embeddings" and _is_side_file(name, {form: []}))
            (data if is_data else counts).append(shown)
        if data:
            notes.append(f"beside the {form}, files used for labels, indexes and masks at most: {', '.join(data)}")
        if counts:
            notes.append(f"beside the {form}, files of other forms are not read as images: {', '.join(counts)}")
        return tuple(notes)

    def _add(self, path: str) -> None:
        file = Path(path)
        try:
            if file.is_symlink() and not self.follow_links:
                target = real_path(file)
                # What lies in the folder is read by itself.
                if not target.is_relative_to(self._real) or not target.exists():
                    self.links.append(file)
                return
            form = form_of(LocalBlob(file)) if file.is_file() else SPECIAL
        except (SourceError, OSError):  # it cannot be opened, or its name is too long for the system
            form = "other"
        self.forms.setdefault(form, []).append(file)

    def _files(self) -> Iterator[str]:
        """Files of the folder: its own first, then those of the folders in it."""

        def too_long(name: str) -> None:
            self.unlisted.append(Path(name))

        for root, folders, names in walk_whole(self.folder, too_long, follow_links=self.follow_links):
            folders.sort()
            if not self.follow_links:
                linked = [Path(root) / name for name in folders if os.path.islink(f"{root}/{name}")]  # noqa: PTH114
                self.unlisted += [file for file in linked if not real_path(file).is_relative_to(self._real)]
            for name in sorted(names):
                yield f"{root}/{name}"

    @cached_property
    def _real(self) -> Path:
        """The folder itself, without links."""
        return real_path(self.folder)
