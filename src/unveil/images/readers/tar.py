"""Tar archives: WebDataset shards, and folders that were packed."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, Window
from unveil.images.clutter import is_clutter
from unveil.images.content import HEAD, Content, content_of
from unveil.images.label_rule import LabelRule
from unveil.images.label_values import label_of
from unveil.images.labels import check_no_image, find_labels
from unveil.images.readers.columns import PERSON_NAMES, choose_labels
from unveil.images.source import IMAGES_WITHIN, MAX_FILE_BYTES, Entry, Source, check_row_count, printable
from unveil.images.unpacked import unpack
from unveil.images.unread import CUT_OFF, Unread
from unveil.types import ImageRecord

BLOCK = 512
# In a WebDataset, members with these extensions belong to the image of the same key.
SIDE_FILES = ("cls", "json", "txt", "index", "id", "label", "pyd", "npy", "pth")
# Members that any archive may have, which take more memory than rows, and after how many their number is checked.
SPARE_MEMBERS, CHECKED = 2**19, 2**16
# What a member holds that is no image by itself.
NO_IMAGE = (None, "within")
# Members that hold the label of a sample.
LABELS = ("cls", "label", "id", "json")
# What states people, the surest first: fields of the metadata, members, and what may be of images as well.
CLASSES = ("label", "labels")
STATED = (
    *(f"json {k}" for k in PERSON_NAMES if k not in CLASSES),
    "cls",
    "label",
    "json",
    *(f"json {k}" for k in CLASSES),
    "id",
)
MAX_LABEL_BYTES = 2**16
# Links, devices and folders: the size in their header is not followed by as many bytes.
WITHOUT_BYTES = (b"1", b"2", b"3", b"4", b"5", b"6")
# Keys of extended headers that say that a file has holes: other programs unpack other bytes than those in the archive.
SPARSE = (b"GNU.sparse.", b"SUN.holesdata", b"SCHILY.realsize")
# Keys that decide the bytes of one member. In a header of all members, programs do not agree on what they mean.
OF_ONE = (b"size", *SPARSE)
# Digits of a size, one more than any has.
MAX_DIGITS = 20
# Long names and extended headers.
MAX_EXTENDED = 2**20
# Zeros between the archives of a concatenated tar; writers pad to 10 KiB.
MAX_PADDING = 2**20
# Bytes of the extended headers of a member beside its name: attributes of files are shorter, images are longer.
MAX_EXTENDED_BESIDE = 512
# No path of a folder is longer.
MAX_PATH = 4096
RECORD, MAX_ZEROS = 10 * 2**10, 2**32


class _Member(NamedTuple):
    """A file, link or device in the archive."""

    name: str
    at: int
    size: int
    regular: bool
    content: Content | None = None


class TarSource(Source):
    """Every member of a tar. In a WebDataset (`KEY.jpg`, `KEY.cls`) the label is a member of the sample.

    A compressed tar (``packed``) is unpacked once, since no member of it can be read by itself.
    """

    kind = "tar"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        self.packed, blob = blob, unpack(blob)
        self.blob = blob
        members: list[_Member] = []
        for member in _members(blob, self.unread):
            members.append(member)
            if len(members) % CHECKED == 0:
                check_row_count(len(members), self.packed, SPARE_MEMBERS)
        by_name = {member.name: member for member in members}
        parts = _samples(members, blob.where)
        images = {key for key, extension in parts if extension not in SIDE_FILES}
        side_files: dict[str, dict[str, _Member]] = {}
        for member, (key, extension) in zip(members, parts, strict=True):
            if extension in SIDE_FILES and key in images and member.content in NO_IMAGE:
                side_files.setdefault(key, {})[extension] = member
        found = find_labels(rule, by_name, lambda name, limit: self._read(by_name[name], limit), blob.where)
        self.label_files, stored = found.files, found.stored or {}
        entries = []
        contents = {f"{member.at}": member.content for member in members if member.content is not None}
        window = Window(blob)
        by_name_of_label: dict[str, dict[int, str]] = {}
        rows = {key: row for row, key in enumerate(side_files)}
        for key, of_sample in side_files.items():
            for stated, label in _sample_labels(window, of_sample, blob.where):
                by_name_of_label.setdefault(stated, {})[rows[key]] = label
        chosen = choose_labels(by_name_of_label, STATED, len(rows), rule.chosen_name)
        self.people_name, self.stated = chosen.name, dict(chosen.stated)
        labels = dict(zip(rows, chosen.labels, strict=True))
        self.notes += [chosen.note] if chosen.note else []
        for member, (key, extension) in zip(members, parts, strict=True):
            # Of several members with this name, the last was read.
            if member.name in found.files and member is by_name[member.name]:
                continue
            if key in images and extension in SIDE_FILES and member.content in NO_IMAGE:
                if member is not side_files[key][extension] or not _may_be_label(member, extension):
                    self.unread.add(f"members .{extension} of samples", printable(member.name))
                if member.content == "within":
                    self.unread.add(IMAGES_WITHIN, printable(member.name))
                continue
            name = printable(member.name)
            own = stored.get(name)
            if own is None and rule.may_use_labels:
                own = labels.get(key)
            entries.append(Entry(name, f"{member.at} {member.size} {int(member.regular)}", own))
        if side_files:
            self.kind = "WebDataset"
        self._set_records(
            entries,
            listed=found.listed,
            states_labels=found.stored is not None,
            in_order=True,
            are_files=True,
            content=lambda entry: contents.get(entry.key.partition(" ")[0]),
        )

    def read(self, record: ImageRecord) -> bytes:
        at, size, regular = (int(v) for v in record.key.split())
        return self._read(_Member(record.id, at, size, bool(regular)), MAX_FILE_BYTES)

    def _read(self, member: _Member, limit: int) -> bytes:
        if not member.regular:
            raise ImageError("read", "not a file", "a link, a device or a file with holes in the archive")
        return self.blob.read_exactly(member.at, member.size, limit)


def _samples(members: Sequence[_Member], where: str) -> list[tuple[str, str]]:
    """The sample of each member, and its extension.

    Members of one key are one sample wherever they are. If one occurs twice, as in archives that were joined, the
    members of its key are samples by their neighbours. Raises SourceError for a label that then is beside no image.
    """
    parts = [webdataset_key(member.name) for member in members]
    names = Counter(parts)
    if len(names) == len(parts):
        return parts
    repeated = {key for (key, _), n in names.items() if n > 1}
    found, run = [], 0
    for before, (key, extension) in zip([("", ""), *parts], parts, strict=False):
        run += key != before[0]
        found.append((f"{key}\0{run}" if key in repeated else key, extension))
    images = {key for key, extension in (*parts, *found) if extension not in SIDE_FILES}
    for (key, extension), (sample, _) in zip(parts, found, strict=True):
        if extension in LABELS and key in images and sample not in images:
            raise SourceError(
                f"{where}: expected the members of a sample beside each other, since keys occur several times, found "
                f"`{printable(key)}.{extension}` beside no image. Give each archive as a file of its own"
            )
    return found


def _may_be_label(member: _Member, extension: str) -> bool:
    """Whether a member of a sample is read as its label."""
    return extension in LABELS and member.regular and member.size <= MAX_LABEL_BYTES


def _sample_labels(window: Window, side_files: Mapping[str, _Member], where: str) -> Iterator[tuple[str, str]]:
    """What the members of a WebDataset sample state about who is in it, by the names of `STATED`.

    Raises SourceError for a member that holds an image.
    """
    for extension in LABELS:
        member = side_files.get(extension)
        if member is None or not _may_be_label(member, extension):
            continue
        data = window.read(member.at, member.size)
        document = check_no_image(data, f"{where}:{printable(member.name)}")
        if extension == "json":
            yield from _json_labels(document, data)
        elif (label := _text_label(data)) is not None:
            yield extension, label


def _text_label(data: bytes) -> str | None:
    try:
        return label_of(data.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _json_labels(document: Any, data: bytes) -> Iterator[tuple[str, str]]:
    """The labels in the fields of a sample, as img2dataset and others write them, or in a number or text alone."""
    if document is None:
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(data)
    # A name or id in the metadata of a web image is that of the image.
    values = {f"json {k}": document.get(k) for k in PERSON_NAMES} if isinstance(document, dict) else {"json": document}
    yield from ((stated, label) for stated, value in values.items() if (label := label_of(value)) is not None)


def webdataset_key(name: str) -> tuple[str, str]:
    """Key and extension of a WebDataset member: the name is split at the first dot after the last slash."""
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return folder + slash + key, extension.lower()


def is_tar(head: bytes) -> bool:
    """Whether the first block of a file is a tar header with a right checksum."""
    if len(head) < BLOCK or not any(head[:BLOCK]):
        return False
    try:
        stated = _number(head[148:156])
    except ValueError:
        return False
    # The checksum counts as eight spaces. Adler-32 adds bytes modulo 65521, thirty times as fast as Python does.
    total = (zlib.adler32(head[:BLOCK]) & 0xFFFF) - 1 - sum(head[148:156]) + 8 * 32
    return 0 <= stated <= BLOCK * 255 and (stated - total) % 65521 == 0


def _number(field: bytes) -> int:
    """An octal number, or a binary one as GNU tar writes sizes beyond 8 GiB; ValueError for anything else."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    number = int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    if number < 0:
        raise ValueError("a negative number")
    return number


def _members(blob: Blob, unread: Unread) -> Iterator[_Member]:
    """Files, links and devices, by their headers, and what those hold that are no images by their names.

    Raises SourceError with the byte where the archive is damaged. tarfile lists at a quarter of this speed, slower than
    a folder is read (docs/decisions/0013). The tests compare the two.
    """
    at, padding, extended_bytes, long_name, long_size, sparse = 0, 0, 0, None, None, False
    window = Window(blob)
    while at < blob.size:
        head = window.read(at, BLOCK)
        if not any(head):
            _check_extended(extended_bytes, at, unread)
            extended_bytes = 0
            # Another archive may follow, as `tar --concatenate` and `cat` write them.
            at, padding = at + BLOCK, padding + BLOCK
            if padding > MAX_PADDING:
                _check_end(blob, at, unread)
                break
            continue
        if not is_tar(head):
            if padding:
                _check_end(blob, at, unread)
                break
            raise SourceError(f"{blob.where}: a damaged tar, no header at byte {at} of {blob.size}; get the file again")
        padding = 0
        try:
            size = _number(head[124:136])
        except ValueError:
            raise SourceError(f"{blob.where}: a damaged tar, no size at byte {at + 124}; get the file again") from None
        kind, start = head[156:157], at + BLOCK
        size = 0 if kind in WITHOUT_BYTES else size
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            extended = _extended(blob, window, start, size)
            if kind in (b"L", b"K"):
                stated_name, _, rest = extended.partition(b"\0")
                long_name = stated_name if kind == b"L" else long_name
            else:
                fields, rest = _pax(extended)
            extended_bytes += size
            if kind == b"g":  # of no single member
                if any(key.startswith(OF_ONE) for key in fields):
                    raise SourceError(
                        f"{blob.where}: expected sizes in the header of each member, found them in one of all members "
                        f"at byte {at}. Pack the files again"
                    )
                _check_extended(extended_bytes, at, unread)
                extended_bytes = 0
            if rest.count(0) != len(rest):
                unread.add("extended headers that go on after their end", f"at byte {at}")
            if kind in (b"x", b"X"):
                long_name = fields.get(b"path", long_name)
                sparse = sparse or any(key.startswith(SPARSE) for key in fields)
                if (stated := fields.get(b"size")) is not None:
                    # Programs differ in how they read other numbers, and in which of two sizes they take.
                    number = int(stated) if stated.isdigit() and len(stated) < MAX_DIGITS else None
                    if number is None or long_size not in (None, number):
                        raise SourceError(
                            f"{blob.where}: a damaged tar, expected one size in digits in the extended headers before "
                            f"a member, found others at byte {at}; get the file again"
                        )
                    long_size = number
        else:
            if kind in WITHOUT_BYTES and long_size:
                raise SourceError(
                    f"{blob.where}: expected a folder, link or device without bytes at byte {at}, found an extended "
                    f"header that gives it {long_size}, which may be other members. Unpack it, and name that folder"
                )
            size = size if long_size is None else long_size
            named = len(long_name or b"")
            _check_extended(extended_bytes - (min(named, MAX_PATH) if kind == b"5" else named), at, unread)
            if kind != b"5":
                name = long_name if long_name is not None else _name(head)
                if start + size > blob.size:
                    raise SourceError(
                        f"{blob.where}: a truncated tar, the member at byte {at} needs {start + size} bytes of "
                        f"{blob.size}; get the file again"
                    )
                text = name.decode("utf-8", "surrogateescape").removeprefix("./")
                regular = kind in (b"0", b"\0", b"7") and not sparse
                sniffed = regular and (webdataset_key(text)[1] in SIDE_FILES or is_clutter(text))
                content = content_of(window.read(start, min(size, HEAD))) if sniffed else None
                yield _Member(text, start, size, regular, content)
            extended_bytes, long_name, long_size, sparse = 0, None, None, False
        at = start + size + -size % BLOCK
    if not padding:
        unread.add(CUT_OFF, blob.name)


def _check_extended(n: int, at: int, unread: Unread) -> None:
    """Counts the bytes of extended headers that are no name of a member, where they have room for an image."""
    if n > MAX_EXTENDED_BESIDE:
        unread.add("bytes of extended headers", f"before byte {at}", n)


def _check_end(blob: Blob, at: int, unread: Unread) -> None:
    """Raises SourceError if bytes other than zeros follow the end of an archive: they may be another archive.

    Some writers fill the last record of 10 KiB with anything, which counts as unread.
    """
    if blob.size - at < RECORD:
        if any(blob.read(at, RECORD)):
            unread.add("bytes after the end of the archive", n=blob.size - at)
        return
    for start in range(at, blob.size, MAX_PADDING):
        data = blob.read(start, MAX_PADDING)
        if data.count(0) != len(data) or start - at > MAX_ZEROS:
            raise SourceError(
                f"{blob.where}: expected the end of the archive at byte {at} of {blob.size}, found more bytes. If "
                "they are another archive, give it as a file of its own; if not, remove them"
            )


def _name(head: bytes) -> bytes:
    name = head[:100].split(b"\0", 1)[0]
    prefix = head[345:500].split(b"\0", 1)[0] if head[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extended(blob: Blob, window: Window, at: int, size: int) -> bytes:
    data = window.read(at, size) if size <= MAX_EXTENDED else b""
    if len(data) != size:
        raise SourceError(
            f"{blob.where}: a damaged tar, an extended header of {size} bytes at byte {at} of {blob.size}; get it again"
        )
    return data


def _pax(data: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """The `length key=value` lines of an extended header, and what follows them."""
    fields = {}
    at = 0
    while at < len(data):
        digits, space, _ = data[at : at + 20].partition(b" ")
        if not space or not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        key, equals, value = data[at + len(digits) + 1 : at + int(digits)].partition(b"=")
        if equals:
            fields[key] = value.rstrip(b"\n")
        at += int(digits)
    return fields, data[at:]
