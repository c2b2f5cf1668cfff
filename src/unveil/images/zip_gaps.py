"""Bytes of a zip that its directory does not list: they may hold another archive, or images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from unveil.errors import SourceError
from unveil.images.blob import Blob
from unveil.images.unread import SHOWN_CHARACTERS, Unread
from unveil.io.text import printable

LOCAL_HEADER, LOCAL_SIGNATURE = 30, b"PK\x03\x04"
END, END_SIGNATURE, MAX_COMMENT = 22, b"PK\x05\x06", 2**16
# Sizes and a checksum that may follow the bytes of a member.
DESCRIPTOR = 24
# Of extra fields and comments: times, owners and alignment take less, images more.
SPARE = 256


class _Gap(NamedTuple):
    at: int
    n: int


def check_accounted(archive: zipfile.ZipFile, blob: Blob, unread: Unread) -> None:
    """Raises SourceError if a part of a zip is no member or several; long extra fields and comments count as unread.

    Only headers that something may lie behind are read, so that the cost does not grow with the number of members.
    """
    gap = next(_gaps(archive, blob, unread), None)
    if gap is not None:
        where = "before its first member" if gap.at == 0 else f"at byte {gap.at}"
        raise SourceError(
            f"{blob.where}: expected a zip whose directory lists all of it, found {gap.n} further bytes {where}, "
            "perhaps another archive or a program that unpacks it. Unpack it with all its parts, and name that folder"
        )
    if len(archive.comment) > SPARE:
        unread.add("long comments in zips")


def _gaps(archive: zipfile.ZipFile, blob: Blob, unread: Unread) -> Iterator[_Gap]:
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    starts = [*(member.header_offset for member in members), archive.start_dir]
    if starts[0] > len(LOCAL_SIGNATURE):  # archives of several volumes begin with another signature
        yield _Gap(0, starts[0])
    for member, end in zip(members, starts[1:], strict=True):
        n_bytes = LOCAL_HEADER + len(member.orig_filename) + member.compress_size
        if end - member.header_offset < n_bytes:
            raise _overlap(blob, member, end)
        # The name is in the header, and in bytes: each character takes one to four.
        if end - member.header_offset - n_bytes <= SPARE and len(member.comment) + len(member.extra) <= SPARE:
            continue
        header = blob.read(member.header_offset, LOCAL_HEADER) if member.header_offset >= 0 else b""
        if header[:4] != LOCAL_SIGNATURE or len(header) < LOCAL_HEADER:
            if end - member.header_offset - n_bytes > SPARE:
                yield _Gap(member.header_offset + n_bytes, end - member.header_offset - n_bytes)
            continue  # it becomes a reject
        name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
        after = member.header_offset + LOCAL_HEADER + name + extra + member.compress_size
        if after > end:
            raise _overlap(blob, member, end)
        if end - after > DESCRIPTOR:
            yield _Gap(after, end - after)
        if max(extra, len(member.extra), len(member.comment)) > SPARE:
            unread.add("long extra fields and comments of members", member.filename)
    after = blob.size - _end(blob)
    if after > SPARE:
        yield _Gap(blob.size - after, after)


def _overlap(blob: Blob, member: zipfile.ZipInfo, end: int) -> SourceError:
    """The error for a member that reaches into the next: a few bytes would be thousands of images, or hide some."""
    return SourceError(
        f"{blob.where}: expected a zip whose members lie one after the other, found "
        f"`{printable(member.filename)[:SHOWN_CHARACTERS]}` at byte {member.header_offset} that reaches beyond byte "
        f"{end}, where the next part begins. Write the archive again"
    )


def _end(blob: Blob) -> int:
    """The byte after the end record, which zipfile found, and its comment."""
    last = max(0, blob.size - END - MAX_COMMENT)
    tail = blob.read(last, blob.size - last)
    at = (
        tail.rfind(END_SIGNATURE) if tail[-END : -END + 4] != END_SIGNATURE or tail[-2:] != b"\0\0" else len(tail) - END
    )
    return last + at + END + int.from_bytes(tail[at + 20 : at + 22], "little")
