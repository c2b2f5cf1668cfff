"""The base class of every reader, and the functions that readers share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unveil.columns import BLOCK, Labels, Texts
from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.clutter import is_clutter, is_system_file
from unveil.images.content import Content
from unveil.images.decode import image_size, is_image
from unveil.images.label_rule import LabelRule, folder_of, without_splits
from unveil.images.unread import SHOWN_CHARACTERS, Unread, first_notes, shown_names
from unveil.io.regular import check_stored, regular_descriptor
from unveil.io.text import composed, decomposed, same_but_for_form
from unveil.io.text import printable as printable
from unveil.io.walk import real_path
from unveil.types import ImageRecord, Records

# The largest image file that is read; 64 MiB holds any photograph.
MAX_FILE_BYTES = 64 * 2**20
# The largest list of images that is read.
MAX_LIST_BYTES = 2**30
READ_CHUNK = 2**20
# No container holds more images than this; a header that states more is damaged.
MAX_RECORDS = 10**9
# No image takes fewer bytes in a container. So many rows are read from any file: those without an image are rejects.
MIN_IMAGE_BYTES, SPARE_RECORDS = 32, 2**20
# Of an id: longer names hold other content. No path is as long.
MAX_ID_CHARACTERS = 2**16
# Notes of one source; what a stranger's container makes more of is counted.
MAX_NOTES = 10_000
# Characters of an id or a label that is no name of a file or a person.
LONG_TEXT = 512
# What is counted where a file that is no image holds one.
IMAGES_WITHIN = "files with an image, or as many numbers, within other content"


class Entry(NamedTuple):
    """One entry as a container lists it.

    ``name`` becomes the id of its record, ``key`` is what `Source.read` needs to find it, and ``label`` is the label
    that the container stores with this entry, if any.
    """

    name: str
    key: str
    label: str | None = None


class ListedLabels(dict[str, str]):
    """The label of each name in a list, and ``notes`` on how the list was read."""

    notes: tuple[str, ...] = ()


class Source(ABC):
    """A folder, list or container of images.

    ``records`` holds one record for each entry, readable or not, in an order that depends on the container alone. Ids
    are unique. ``rule`` is the label rule in use, with ``auto`` already decided for the ``reason``. ``states_labels``
    says that the container states who is in its images, even where that is nobody. ``class_names`` are the labels that
    it has numbers for. ``people_name`` is the column, feature or member of its labels. Of each such name that could be
    chosen, the surest first, ``stated`` is the number of images that it labels. ``notes`` tell the user how the
    container was read. ``ignored`` holds the files in it that are no images, and ``unread`` counts whatever else no
    reader reads, which becomes notes. ``left_out`` is the number of images that an option or an index leaves out.
    ``options`` are those of its reader.

    To add a reader for another container:

    1. Write a subclass in a file of its own in ``unveil/images/readers/``. Its constructor takes ``(blob, rule,
       options)``, lists the entries without reading the images, and passes them to ``_set_records``.
    2. Implement ``read``: the bytes of one image file. Raw pixels go through `unveil.images.decode.netpbm`.
    3. Treat every file as hostile. Bound each allocation by the size of the file or by a constant. Raise SourceError
       when the container cannot be read as a whole, and ImageError when one entry cannot be read.
    4. Pass nothing over: see `unveil.images.readers.parts.notes_of_unread`.
    5. Add one row to ``READERS`` in ``unveil/images/registry.py``, the form and its options to ``FORMS`` in
       ``unveil/images/location.py``, and the first bytes of the format to ``unveil/images/sniff.py``.
    6. Add a function that writes such a container to ``WRITERS`` in ``tests/containers.py``, and a target to
       ``tests/fuzz/targets.py``. The tests of all containers then cover it.
    """

    kind: str
    # Whether its stored labels are numbers that mean nothing in another file.
    numbers_people = False

    def __init__(self, where: str | Path, rule: LabelRule) -> None:
        self.where = str(where)
        self.rule = rule
        self._records = Records.of([])
        self.notes: list[str] = []
        self.ignored: list[Entry] = []
        self.unread = Unread()
        self.left_out = 0
        self.reason = ""
        self.states_labels = False
        self.class_names: tuple[str, ...] = ()
        self.people_name: str | None = None
        self.stated: dict[str, int] = {}
        self.options: dict[str, str] = {}

    @property
    def records(self) -> Records:
        """The records of the source."""
        return self._records

    @records.setter
    def records(self, records: Sequence[ImageRecord]) -> None:
        self._records = Records.of(records)

    @abstractmethod
    def read(self, record: ImageRecord) -> bytes:
        """The bytes of one image file; ImageError when they cannot be read. Several threads may call it at once."""

    def _set_records(
        self,
        entries: Iterable[Entry],
        *,
        listed: Mapping[str, str] | None = None,
        states_labels: bool = False,
        in_order: bool = False,
        are_files: bool = False,
        content: Callable[[Entry], Content | None] | None = None,
    ) -> None:
        """Sets ``records`` from the entries of the container.

        Entries are sorted by name unless they are ``in_order``. ``listed`` maps names to the labels of the list that a
        rule ``list:`` names. ``states_labels`` says that the container states who is in its images, even where that is
        nobody. With ``are_files``, entries whose names are those of other files are ignored and counted in notes.
        ``content`` says what such an entry holds: images are read. Without it, as at an address, the name decides.

        Raises SourceError when there are no images, no labels where the rule needs them, or a name is too long.
        """
        ordered = list(entries) if in_order else sorted(entries, key=itemgetter(0, 1))
        if are_files and (others := [entry for entry in ordered if is_clutter(entry.name)]):
            self.ignored = others if content is None else self._without_images(others, content)
            if content is None:
                self.unread.add("files whose names are those of no images, which were not looked into", n=len(others))
            ignored = set(self.ignored)
            ordered = [entry for entry in ordered if entry not in ignored]
        if not ordered and self.ignored:
            raise SourceError(
                f"{self.where}: images were expected, but its {len(self.ignored)} files are none, for example "
                f"`{self.ignored[0].name}`"
            )
        if not ordered:
            raise SourceError(f"{self.where}: images were expected, but there are no files in it")
        names = [entry.name for entry in ordered]
        self._check_longest(max(names, key=len))
        automatic = self.rule.kind == "auto"
        self._decide_rule(names, any(entry.label is not None for entry in ordered), states_labels)
        if automatic and self.rule.kind == "labels":
            self._note_folders(names, [entry.label for entry in ordered])
        ids = unique_ids(names)
        people = self._people(ids, names, [entry.label for entry in ordered], listed)
        self.records = Records(Texts(ids), _shown(people), [entry.key for entry in ordered])

    def _without_images(self, others: Sequence[Entry], content: Callable[[Entry], Content | None]) -> list[Entry]:
        """Those of the files with names of other files that hold no image. Whatever may hold images is counted."""
        ignored, read = [], []
        for entry in others:
            found = content(entry)
            if found == "container":
                self.unread.add("archives, documents and videos in it, which are not opened", entry.name)
            elif found is not None and is_system_file(entry.name):
                self.unread.add("images among the files of systems and editors", entry.name)
            elif found == "within":
                self.unread.add(IMAGES_WITHIN, entry.name)
            elif found is not None:
                read.append(entry.name)
                continue
            ignored.append(entry)
        if read:
            self.notes.append(
                f"{len(read)} files that are no images by their names are read as such: {shown_names(read)}"
            )
        return ignored

    def _set_columns(
        self, names: Texts, labels: Labels | None, keys: Sequence[str], *, listed: Mapping[str, str] | None
    ) -> None:
        """As `_set_records`, for a container of rows: the name, the stored label and the key (N,) of each, in order.

        ``labels`` are printable; None where the container stores none.
        """
        if not len(names):
            raise SourceError(f"{self.where}: images were expected, but there are no files in it")
        self._check_longest(names.longest)
        stored = Labels.missing(len(names)) if labels is None else labels
        self._decide_rule(names, stored.n_missing < len(stored), labels is not None)
        ids = names if names.n_distinct() == len(names) else Texts(unique_ids(list(names)))
        if self.rule.kind == "labels":
            people = stored
        elif self.rule.kind == "one-per-image":
            people = Labels.each(ids)
        elif self.rule.kind == "none":
            people = Labels.missing(len(ids))
        else:
            people = _shown(self._people(ids, names, stored, listed))
        self.records = Records(ids, people, keys)

    def _check_longest(self, name: str) -> None:
        if len(name) > MAX_ID_CHARACTERS:
            raise SourceError(
                f"{self.where}: expected names of at most {MAX_ID_CHARACTERS:,} characters, found one of "
                f"{len(name):,} (`{name[:SHOWN_CHARACTERS]}...`). Shorten it"
            )

    def _people(
        self,
        ids: Sequence[str],
        names: Sequence[str],
        labels: Sequence[str | None],
        listed: Mapping[str, str] | None,
    ) -> Iterable[str | None]:
        """The label of each entry by the rule, which is not ``auto``, from its id, its name and its stored label."""
        if self.rule.kind == "labels":
            return labels
        if self.rule.kind == "one-per-image":
            # A repeated name is another image: only its id is its own.
            return ids
        if self.rule.kind == "list":
            # A list names one of several images of a name by its id, or all of them by that name.
            paths = [id if id in (listed or {}) else name for id, name in zip(ids, names, strict=True)]
            self.notes += listed.notes if isinstance(listed, ListedLabels) else ()
            listed = None if listed is None else in_any_form(listed, paths, self.where)
            self._check_list(paths, listed)
            hashes = [path for path in paths if path.startswith("#") and path not in (listed or {})]
            if hashes:
                self.notes.append(
                    f"{len(hashes)} images whose names begin with # have no label, since such lines are comments: "
                    f'write the path in quotes, as in "{hashes[0]}",LABEL'
                )
            return ((listed or {}).get(path) for path in paths)
        return self.rule.people(names)

    def _decide_rule(self, names: Sequence[str], has_labels: bool, states_labels: bool) -> None:
        """Replaces the rule ``auto`` by what the container says, and stores the reason."""
        self.states_labels = has_labels or states_labels
        if self.rule.kind == "labels" and not has_labels:
            raise SourceError(f"{self.where}: the {self.kind} stores no labels; use another label rule")
        if self.rule.kind != "auto":
            return
        if has_labels:
            self.rule, self.reason = LabelRule("labels"), f"labels are stored in the {self.kind}"
        elif states_labels:
            self.rule, self.reason = LabelRule("none"), f"the labels of the {self.kind} name no people"
        else:
            self.rule, self.reason = self.rule.decide(names)

    def _note_folders(self, names: Sequence[str], labels: Sequence[str | None]) -> None:
        """Notes folders that may be people, where the stored labels, which are used, sort the images otherwise."""
        if not any("/" in name for name in names) or LabelRule().decide(names)[0].kind != "folder":
            return
        # Those of one label may be a person's parts in several splits.
        pairs = {(without_splits(folder_of(name)), label) for name, label in zip(names, labels, strict=True)}
        folders, stated = {folder for folder, _ in pairs}, {label for _, label in pairs}
        if len(pairs) > len(stated):
            self.notes.append(
                f"the stored labels are used for the people, and not the {len(folders):,} folders, which sort the "
                "images otherwise: name the label rule folder if these are the people"
            )

    def _check_list(self, names: Sequence[str], listed: Mapping[str, str] | None) -> None:
        """SourceError when the list labels fewer than half of the images: it is then a list of other names.

        A reader that passes no list does not read any.
        """
        if listed is None:
            raise SourceError(
                f"{self.where}: the reader of the {self.kind} takes no list of labels; use another label rule"
            )
        matched = sum(name in listed for name in names)
        if 2 * matched >= len(names):
            return
        unlisted = next(name for name in names if name not in listed)
        known = set(names)
        other = next((name for name in listed if name not in known), next(iter(listed)))
        raise SourceError(
            f"{self.where}: {self.rule.argument} labels {matched} of {len(names)} images; one is `{unlisted}`, the "
            f"list has `{other}`. Name the images in it like the first of the two"
        )


def in_any_form(labels: Mapping[str, str], names: Sequence[str], where: str) -> Mapping[str, str]:
    """Labels by names, also for those of the ``names`` that a file of labels writes in another Unicode form.

    Raises SourceError where such a name fits several.
    """
    without = [name for name in names if name not in labels and not name.isascii()]
    taken = set(names) if without else set()
    matches = same_but_for_form(without, (name for name in labels if name not in taken))
    twice = Counter(written for found in matches.values() for written in found)
    for name, found in matches.items():
        if len(found) > 1 or twice[found[0]] > 1:
            raise SourceError(
                f"{where}: expected one label for `{name}`, found several names in the file of labels, or several "
                "images, that differ in how letters and accents are written alone. Name them alike"
            )
    return {**labels, **{name: labels[found[0]] for name, found in matches.items()}} if matches else labels


def _shown(people: Iterable[str | None]) -> Labels:
    """The labels of people as they are shown."""
    shown: dict[str, str] = {}  # each label once, however long it is and however many images have it

    def text(person: str | None) -> str | None:
        if person is None:
            return None
        return shown.get(person) or shown.setdefault(person, composed(printable(person)))

    return Labels.of(map(text, people))


def unique_ids(names: Sequence[str]) -> list[str]:
    """The names as unique ids: a repeated name gets ``~2``, ``~3`` and so on, without meeting any other name."""
    taken = set(names)
    if len(taken) == len(names):
        return list(names)
    counts: dict[str, int] = {}
    ids = []
    for name in names:
        count = counts.get(name, 0) + 1
        id = name
        if count > 1:
            while (id := f"{name}~{count}") in taken:
                count += 1
            taken.add(id)
        counts[name] = count
        ids.append(id)
    return ids


def complete(source: Source) -> Source:
    """The same source with the notes that every container has: who its people are and why, and what is not read.

    Raises AssertionError when two records share an id, which is a fault of the reader.
    """
    if source.records.ids.n_distinct() != len(source.records):
        raise AssertionError(f"{source.where}: two records of the {source.kind} share an id; please report this")
    notes = [f"{source.rule.description}: {source.reason}"] if source.reason else []
    if source.ignored:
        names = shown_names(entry.name for entry in source.ignored)
        notes.append(f"{len(source.ignored)} files that are no images are ignored: {names}")
    n_missing = 0 if source.rule.kind in ("none", "one-per-image") else source.records.people.n_missing
    if n_missing:
        notes.append(f"{n_missing:,} of {len(source.records):,} images have no label")
    notes += [*source.unread.notes(), *_long_texts(source), *source.notes]
    source.notes = first_notes(notes, MAX_NOTES)
    return source


def _long_texts(source: Source) -> Iterator[str]:
    """Notes on ids and labels that are longer than any name: they may be other content as text."""
    texts = {"ids of images": source.records.ids}
    if source.rule.kind in ("labels", "list"):
        texts["labels"] = source.records.people.coded()[0]
    for what, column in texts.items():
        rows = column.longer_than(LONG_TEXT)
        if len(rows):
            first = shown_names(column.take(rows[:1]))
            yield f"{len(rows):,} {what} have more than {LONG_TEXT} characters, and may be other content: {first}"


class RowKeys(Sequence[str]):
    """The keys of a container of rows: the number of each."""

    def __init__(self, rows: range) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> RowKeys: ...
    def __getitem__(self, index: int | slice) -> str | RowKeys:
        return RowKeys(self._rows[index]) if isinstance(index, slice) else str(self._rows[index])


def numbered_ids(numbers: Iterable[int]) -> list[str]:
    """Ids of images that have only a number, padded with zeros to eight digits or to the widest number."""
    all_numbers = list(numbers)
    width = max(8, len(str(max(all_numbers, default=0))))
    return [f"{number:0{width}d}" for number in all_numbers]


def numbered_texts(n: int) -> Texts:
    """The `numbered_ids` of the first ``n`` numbers."""
    width = max(8, len(str(n - 1)))
    blocks = (pa.array(np.arange(start, min(start + BLOCK, n))) for start in range(0, n, BLOCK))
    return Texts.joined(Texts.of(pc.utf8_lpad(block.cast(pa.large_string()), width, "0")) for block in blocks)


def check_row_count(n: int, blob: Blob, spare: int | None = None) -> None:
    """SourceError for more rows than images have room in a file: each gets an id and takes memory.

    Any file may have ``spare`` rows, by default SPARE_RECORDS.
    """
    most = min(max(spare or SPARE_RECORDS, blob.size // MIN_IMAGE_BYTES), MAX_RECORDS)
    if n > most:
        raise SourceError(
            f"{blob.where}: expected at most {most:,} images in a file of {blob.size:,} bytes, found {n:,} rows or "
            "more. Get it again, or leave out rows without an image"
        )


def stays_inside(path: str) -> bool:
    """Whether a path is relative and cannot leave the folder it is relative to."""
    if "\0" in path:
        return False
    pure = PurePosixPath(path.replace("\\", "/"))
    return not pure.is_absolute() and ".." not in pure.parts and ":" not in (pure.parts[0] if pure.parts else "")


def read_file(file: str | Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; SourceError otherwise."""
    name = printable(os.path.basename(file))  # noqa: PTH119 (Path is slow, and every image is read here)
    try:
        descriptor = regular_descriptor(file)
        try:
            status = os.fstat(descriptor)
            check_stored(status, file)
            data = os.read(descriptor, min(status.st_size, limit) + 1)
            while 0 < len(data) <= limit and (more := os.read(descriptor, min(limit + 1 - len(data), READ_CHUNK))):
                data += more
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"{name}: {reason}") from None
    if len(data) > limit:
        raise SourceError(f"{name}: more than {limit} bytes")
    return data


def read_image(file: str | Path, limit: int) -> bytes:
    """`read_file` for one of many images: ImageError, so that it becomes a reject."""
    try:
        return read_file(file, limit)
    except SourceError as error:
        raise ImageError("read", "unreadable file", str(error)) from None


def existing_form(folder: Path, path: str) -> str:
    """The path of a file in a folder that differs from ``path`` in its Unicode form alone; the same if there is none.

    Raises ImageError where there are several.
    """
    if path.isascii() or os.path.lexists(folder / path):
        return path
    forms = dict.fromkeys((composed(path), decomposed(path)))
    there = [form for form in forms if os.path.lexists(folder / form)]
    if len(there) > 1:
        raise ImageError(
            "read", "unreadable file", f"several files differ from {printable(path)} in how accents are written alone"
        )
    return there[0] if there else path


def read_inside(folder: Path, path: str, *, follow_links: bool = False) -> bytes:
    """The image at a path relative to ``folder``; ImageError when it lies outside, cannot be read or is no image.

    The path may be a stranger's, who must not reach other files that lie there: what is read may be copied.
    """
    if not stays_inside(path):
        raise ImageError(
            "read", "path leaves the folder", "paths are relative to the list and may not leave its folder"
        )
    file = folder / existing_form(folder, path)
    try:
        leaves = not follow_links and not real_path(file).is_relative_to(folder)
    except OSError as error:
        raise ImageError("read", "unreadable file", str(error.strerror)) from None
    if leaves:
        raise ImageError("read", "link leaves the folder", "links are not followed; use --follow-links")
    data = read_image(file, MAX_FILE_BYTES)
    if not is_image(data):
        image_size(data)  # names what it is, unless it is an image after all
    return data
