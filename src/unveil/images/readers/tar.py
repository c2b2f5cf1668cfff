"""Tar archives: WebDataset shards, and folders that were packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob, Window
from unveil.images.label_rule import LabelRule
from unveil.images.labels import find_labels
from unveil.images.source import MAX_FILE_BYTES, Source, printable
from unveil.types import ImageRecord

BLOCK = 512
# In a WebDataset these belong to the picture of the same key and are none themselves.
SIDE_FILES = ("cls", "json", "txt", "index", "id", "label", "pyd", "npy", "pth")
LABELS = ("cls", "label", "id")
MAX_LABEL_BYTES = 4096
# Long names and extended headers.
MAX_EXTENDED = 2**20


@dataclass(frozen=True)
class _Member:
    name: str
    at: int
    size: int
    regular: bool


class TarSource(Source):
    """Every member of a tar. In a WebDataset (`KEY.jpg` beside `KEY.cls`) the class is the person."""

    kind = "tar"

    def __init__(self, blob: Blob, rule: LabelRule) -> None:
        super().__init__(blob.where, rule)
        self.blob = blob
        members = list(_members(blob))
        places = {m.name: m for m in members}
        parts = [webdataset_key(m.name) for m in members]
        classes = {key: m for m, (key, extension) in zip(members, parts, strict=True) if extension in LABELS}
        found = find_labels(rule, places, lambda name, limit: self._bytes(places[name], limit), blob.where)
        self.label_files = found.files
        labels = dict(found.own or {})
        entries = []
        window = Window(blob)
        for member, (key, extension) in zip(members, parts, strict=True):
            if member.name in found.files or (key in classes and extension in SIDE_FILES):
                continue
            id = printable(member.name)
            entries.append((id, f"{member.at} {member.size} {int(member.regular)}"))
            if key in classes and (label := _class(window, classes[key])) is not None:
                labels[id] = label
        if classes:
            self.kind = "WebDataset"
        self._set_records(entries, labels=labels, listed=found.listed, in_order=True)

    def read(self, record: ImageRecord) -> bytes:
        at, size, regular = (int(v) for v in record.key.split())
        return self._bytes(_Member(record.id, at, size, bool(regular)), MAX_FILE_BYTES)

    def _bytes(self, member: _Member, limit: int) -> bytes:
        if not member.regular:
            raise ImageError("read", "not a file", "a link or device in the archive")
        return self.blob.exactly(member.at, member.size, limit)


def _class(window: Window, member: _Member) -> str | None:
    """The text of a small member; None when it is none."""
    if not member.regular or member.size > MAX_LABEL_BYTES:
        return None
    try:
        return window.read(member.at, member.size).decode("utf-8").strip() or None
    except (ImageError, UnicodeDecodeError):
        return None


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
        return _number(head[148:156]) == sum(head[:148]) + 8 * 32 + sum(head[156:BLOCK])
    except ValueError:
        return False


def _number(field: bytes) -> int:
    """An octal number, or a binary one as GNU tar writes sizes beyond 8 GiB; ValueError for anything else."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    return int(field.split(b"\0", 1)[0].strip() or b"0", 8)


def _members(blob: Blob) -> Iterator[_Member]:
    """Files, links and devices, by their headers alone; SourceError with the byte where the archive is damaged.

    tarfile lists at a quarter of this speed, slower than a folder is read (docs/decisions/0013); the tests hold to it.
    """
    at, long_name, long_size = 0, None, None
    window = Window(blob)
    while at < blob.size:
        head = window.read(at, BLOCK)
        if not any(head):
            break
        if not is_tar(head):
            raise SourceError(f"{blob.where}: a damaged tar, no header at byte {at} of {blob.size}; get the file again")
        try:
            size = _number(head[124:136])
        except ValueError:
            raise SourceError(f"{blob.where}: a damaged tar, no size at byte {at + 124}; get the file again") from None
        kind, start = head[156:157], at + BLOCK
        size = 0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") else size
        if kind in (b"L", b"K", b"x", b"g"):
            extended = _extended(blob, start, size)
            if kind == b"L":
                long_name = extended.split(b"\0", 1)[0]
            elif kind == b"x":
                fields = _pax(extended)
                long_name = fields.get(b"path", long_name)
                told = fields.get(b"size", b"")
                long_size = int(told) if told.isdigit() and len(told) < 20 else long_size
        else:
            size = size if long_size is None else long_size
            if kind != b"5":
                name = long_name if long_name is not None else _name(head)
                if start + size > blob.size:
                    raise SourceError(
                        f"{blob.where}: a truncated tar, the member at byte {at} needs {start + size} bytes of "
                        f"{blob.size}; get the file again"
                    )
                text = name.decode("utf-8", "surrogateescape").removeprefix("./")
                yield _Member(text, start, size, kind in (b"0", b"\0", b"7"))
            long_name = long_size = None
        at = start + size + -size % BLOCK


def _name(head: bytes) -> bytes:
    name = head[:100].split(b"\0", 1)[0]
    prefix = head[345:500].split(b"\0", 1)[0] if head[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extended(blob: Blob, at: int, size: int) -> bytes:
    try:
        return blob.exactly(at, size, MAX_EXTENDED)
    except ImageError as error:
        raise SourceError(f"{blob.where}: a damaged tar ({error})") from None


def _pax(data: bytes) -> dict[bytes, bytes]:
    """The `length key=value` lines of an extended header."""
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
    return fields
