"""The keys and values of an LMDB file, by its pages.

The C library maps the file and follows its pointers unchecked, so that a damaged one can end the process (see
docs/decisions/0013). Here every page number and length is checked against the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob

MAGIC = 0xBEEFC0DE
# Offsets on 64-bit little-endian machines, which is where data sets are written.
PAGE_HEADER = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
META = struct.Struct("<IIQQ")  # magic, version, address, map size; then two databases, last page, transaction
DATABASE = struct.Struct("<IHHQQQQQ")  # page size or pad, flags, depth, branch, leaf and overflow pages, entries, root
NODE = struct.Struct("<HHHH")  # low and high half of a size, flags, length of the key
BRANCH, LEAF, OVERFLOW, IS_META = 1, 2, 4, 8
BIG, SUB_DATABASE, DUPLICATES = 1, 2, 4
NOWHERE = 2**64 - 1
PAGE_SIZES = [2**k for k in range(8, 17)]
# B+ trees of a billion keys are not this deep.
DEEPEST = 32


@dataclass(frozen=True)
class Value:
    """Where a value lies in the file."""

    at: int
    length: int


def is_lmdb(head: bytes) -> bool:
    """Whether the first bytes of a file are a meta page."""
    return len(head) >= 20 and head[16:20] == MAGIC.to_bytes(4, "little")


def entries(blob: Blob) -> Iterator[tuple[bytes, Value]]:
    """Every key, in order, and where its value lies; SourceError with the byte where the file is damaged."""
    try:
        page_size, n_entries, depth, root = _newest(blob)
        if root == NOWHERE:
            return
        if depth > DEEPEST:
            raise _damaged(blob, 0, f"a tree {depth} levels deep")
        seen = 0
        for key, value in _walk(blob, page_size, root, depth):
            seen += 1
            if seen > n_entries:
                raise _damaged(blob, 0, f"more than the {n_entries} entries that it counts")
            yield key, value
    except (struct.error, ImageError) as error:
        raise _damaged(blob, 0, str(error)) from None
    if seen != n_entries:
        raise _damaged(blob, 0, f"{seen} entries where it counts {n_entries}")


def _damaged(blob: Blob, at: int, why: str) -> SourceError:
    return SourceError(f"{blob.where}: a damaged LMDB file at byte {at} of {blob.size}: {why}; get the file again")


def _newest(blob: Blob) -> tuple[int, int, int, int]:
    """Page size, entries, depth and root of the main database after the last transaction."""
    head = blob.read(0, PAGE_HEADER.size + META.size + 2 * DATABASE.size)
    if not is_lmdb(head):
        raise _damaged(blob, 0, "no meta page")
    page_size = DATABASE.unpack_from(head, PAGE_HEADER.size + META.size)[0]
    if page_size not in PAGE_SIZES:
        raise _damaged(blob, PAGE_HEADER.size + META.size, f"pages of {page_size} bytes")
    found = []
    for at in (0, page_size):
        page = blob.read(at, PAGE_HEADER.size + META.size + 2 * DATABASE.size + 16)
        if len(page) < PAGE_HEADER.size + META.size + 2 * DATABASE.size + 16:
            continue
        magic, version, _, _ = META.unpack_from(page, PAGE_HEADER.size)
        if magic != MAGIC or version not in (1, 2):
            continue
        _, flags, depth, _, _, _, entries, root = DATABASE.unpack_from(
            page, PAGE_HEADER.size + META.size + DATABASE.size
        )
        transaction = int.from_bytes(page[-8:], "little")
        found.append((transaction, flags, entries, depth, root))
    if not found:
        raise _damaged(blob, 0, "no meta page of a version that is known")
    _, flags, entries, depth, root = max(found)
    if flags & DUPLICATES:
        raise SourceError(f"{blob.where}: an LMDB with several values a key, which no set of pictures has")
    return page_size, entries, depth, root


def _walk(blob: Blob, page_size: int, root: int, depth: int) -> Iterator[tuple[bytes, Value]]:
    """Leaves below a page, from left to right. Every page is met once, so that no circle is followed."""
    met: set[int] = set()
    waiting = [(root, 1)]
    while waiting:
        number, level = waiting.pop()
        at = number * page_size
        if number in met or level > depth:
            raise _damaged(blob, at, "pages lead round in a circle")
        met.add(number)
        page = blob.read(at, page_size)
        if len(page) < page_size:
            raise _damaged(blob, at, f"page {number} lies beyond the end")
        own, _, flags, lower, upper = PAGE_HEADER.unpack_from(page)
        if own != number or not flags & (BRANCH | LEAF) or not PAGE_HEADER.size <= lower <= upper <= page_size:
            raise _damaged(blob, at, f"page {number} is none of keys")
        nodes = struct.unpack_from(f"<{(lower - PAGE_HEADER.size) // 2}H", page, PAGE_HEADER.size)
        if flags & BRANCH:
            children = []
            for node in nodes:
                low, high, top, _ = NODE.unpack_from(page, node)
                children.append((low | high << 16 | top << 32, level + 1))
            waiting += reversed(children)
            continue
        for node in nodes:
            low, high, kind, key_length = NODE.unpack_from(page, node)
            start = node + NODE.size
            key, length = page[start : start + key_length], low | high << 16
            start += key_length
            if kind & (SUB_DATABASE | DUPLICATES):
                continue
            if kind & BIG:
                value = Value(_overflow(blob, page_size, page, start, length), length)
            else:
                value = Value(at + start, length)
                if start + length > page_size:
                    raise _damaged(blob, at + node, "a value reaches beyond its page")
            yield key, value


def _overflow(blob: Blob, page_size: int, page: bytes, at: int, length: int) -> int:
    """Where a value begins that has pages of its own."""
    number = int.from_bytes(page[at : at + 8], "little")
    start = number * page_size + PAGE_HEADER.size
    if number < 2 or start + length > blob.size:
        raise _damaged(blob, start, f"a value of {length} bytes lies beyond the end")
    return start
