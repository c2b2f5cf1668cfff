"""The keys and values of an LMDB file, read page by page.

The C library maps the file and follows its pointers unchecked, so that a damaged file can end the process (see
docs/decisions/0013). Here every page number and length is checked against the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob

MAGIC = 0xBEEFC0DE
# Offsets on 64-bit little-endian machines, which write nearly all datasets.
PAGE_HEADER = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
META = struct.Struct("<IIQQ")  # magic, version, address, map size; then two databases, last page, transaction
DATABASE = struct.Struct("<IHHQQQQQ")  # page size or pad, flags, depth, branch, leaf and overflow pages, entries, root
NODE = struct.Struct("<HHHH")  # low and high half of a size, flags, length of the key
BRANCH, LEAF, OVERFLOW, IS_META = 1, 2, 4, 8
BIG, SUB_DATABASE, DUPLICATES = 1, 2, 4
NO_PAGE = 2**64 - 1
PAGE_SIZES = [2**k for k in range(8, 17)]
# A B+ tree of a billion keys is less deep.
MAX_DEPTH = 32
SHOWN_NAMES = 5
# Meta pages, and bytes behind the last page that are looked at: the first, and the last of the file.
N_META, MAX_BEHIND, SHOWN_BEHIND = 2, 2**24, 2**16


@dataclass(frozen=True)
class Value:
    """Offset and length of a value in the file."""

    at: int
    length: int


@dataclass(frozen=True)
class _Tree:
    """A database in the file: its entries, the depth of its tree and the page of the root."""

    n_entries: int
    depth: int
    root: int


class Reached:
    """How many pages of a file keys lead to. ``unreached`` is how many bytes of pages they do not lead to."""

    def __init__(self) -> None:
        self.n, self.unreached = 0, 0


def is_lmdb(head: bytes) -> bool:
    """Whether the first bytes of a file are a meta page."""
    return len(head) >= 20 and head[16:20] == MAGIC.to_bytes(4, "little")


def entries(blob: Blob, reached: Reached | None = None) -> Iterator[tuple[bytes, Value]]:
    """Every key, in order, with its value; SourceError with the byte where the file is damaged, or goes on.

    A file whose only content is one named database gives the entries of that. SourceError names the databases when
    there are several. ``reached`` is complete after the last entry.
    """
    reached = Reached() if reached is None else reached
    try:
        page_size, tree, n_pages = _newest(blob)
        _check_end(blob, n_pages * page_size)
        yield from _all_entries(blob, page_size, tree, reached)
        reached.unreached = max(0, n_pages - N_META - reached.n) * page_size
    except (struct.error, ImageError) as error:
        raise _damaged(blob, 0, str(error)) from None


def _check_end(blob: Blob, end: int) -> None:
    """SourceError if bytes other than zeros follow the last page: to other programs they may be the file."""
    for at, n in ((end, MAX_BEHIND), (max(end, blob.size - SHOWN_BEHIND), SHOWN_BEHIND)):
        data = blob.read(at, n) if at < blob.size else b""
        if data.count(0) != len(data):
            raise SourceError(
                f"{blob.where}: expected the end of the LMDB at byte {end} of {blob.size}, found more bytes. If they "
                "are another archive, give it as a file of its own; if not, copy the LMDB with `mdb_copy`"
            )


def _all_entries(blob: Blob, page_size: int, tree: _Tree, reached: Reached) -> Iterator[tuple[bytes, Value]]:
    named: list[tuple[bytes, _Tree]] = []
    plain = False
    for key, value in _entries_of(blob, page_size, tree, reached):
        if isinstance(value, _Tree):
            named.append((key, value))
        else:
            plain = True
            yield key, value
    if not named:
        return
    if plain or len(named) > 1:
        names = ", ".join(key.decode("utf-8", "backslashreplace") for key, _ in named[:SHOWN_NAMES])
        raise SourceError(
            f"{blob.where}: an LMDB of one unnamed database was expected, it has the named databases {names}; "
            "copy the images into a file of their own"
        )
    for key, value in _entries_of(blob, page_size, named[0][1], reached):
        if isinstance(value, _Tree):
            raise _damaged(blob, 0, "a database within a named database")
        yield key, value


def database_name(blob: Blob) -> bytes | None:
    """The name of the database that `entries` reads; None for the unnamed one."""
    page_size, tree, _ = _newest(blob)
    key, value = next(_entries_of(blob, page_size, tree, Reached()), (b"", None))
    return key if isinstance(value, _Tree) else None


def _entries_of(blob: Blob, page_size: int, tree: _Tree, reached: Reached) -> Iterator[tuple[bytes, Value | _Tree]]:
    if tree.root == NO_PAGE:
        return
    if tree.depth > MAX_DEPTH:
        raise _damaged(blob, 0, f"a tree of depth {tree.depth}")
    count = 0
    for key, value in _walk(blob, page_size, tree.root, tree.depth, reached):
        count += 1
        if count > tree.n_entries:
            raise _damaged(blob, 0, f"more than the {tree.n_entries} entries that it states")
        yield key, value
    if count != tree.n_entries:
        raise _damaged(blob, 0, f"{count} entries where it states {tree.n_entries}")


def _damaged(blob: Blob, at: int, why: str) -> SourceError:
    return SourceError(f"{blob.where}: a damaged LMDB file at byte {at} of {blob.size}: {why}; get the file again")


def _newest(blob: Blob) -> tuple[int, _Tree, int]:
    """Page size, the main database after the last transaction, and the number of pages."""
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
        _, flags, depth, _, _, _, n_entries, root = DATABASE.unpack_from(
            page, PAGE_HEADER.size + META.size + DATABASE.size
        )
        transaction = int.from_bytes(page[-8:], "little")
        last = int.from_bytes(page[-16:-8], "little")
        found.append((transaction, flags, n_entries, depth, root, last))
    if not found:
        raise _damaged(blob, 0, "no meta page of a known version")
    _, flags, n_entries, depth, root, last = max(found)
    if flags & DUPLICATES:
        raise SourceError(f"{blob.where}: an LMDB with several values a key, which no set of images has")
    return page_size, _Tree(n_entries, depth, root), min(last + 1, blob.size // page_size + 1)


def _walk(blob: Blob, page_size: int, root: int, depth: int, reached: Reached) -> Iterator[tuple[bytes, Value | _Tree]]:
    """The leaves below a page, from left to right. No page is visited twice, so that no circle is followed."""
    visited: set[int] = set()
    waiting = [(root, 1)]
    while waiting:
        number, level = waiting.pop()
        at = number * page_size
        if number in visited or level > depth:
            raise _damaged(blob, at, "its pages form a circle")
        visited.add(number)
        reached.n += 1
        page = blob.read(at, page_size)
        if len(page) < page_size:
            raise _damaged(blob, at, f"page {number} lies beyond the end")
        own, _, flags, lower, upper = PAGE_HEADER.unpack_from(page)
        if own != number or not flags & (BRANCH | LEAF) or not PAGE_HEADER.size <= lower <= upper <= page_size:
            raise _damaged(blob, at, f"page {number} holds no keys")
        nodes = struct.unpack_from(f"<{(lower - PAGE_HEADER.size) // 2}H", page, PAGE_HEADER.size)
        left = page_size - upper  # bytes of nodes: shared by many entries, they would cost a file nothing
        if flags & BRANCH:
            children = []
            for node in nodes:
                low, high, top, key_length = NODE.unpack_from(page, node)
                left -= NODE.size + key_length
                children.append((low | high << 16 | top << 32, level + 1))
            if left < 0:
                raise _damaged(blob, at, f"the keys of page {number} overlap")
            waiting += reversed(children)
            continue
        for node in nodes:
            low, high, kind, key_length = NODE.unpack_from(page, node)
            start = node + NODE.size
            key, length = page[start : start + key_length], low | high << 16
            start += key_length
            left -= NODE.size + key_length
            if left < 0:
                raise _damaged(blob, at, f"the entries of page {number} overlap")
            if kind & DUPLICATES:
                raise SourceError(f"{blob.where}: an LMDB with several values a key, which no set of images has")
            if kind & SUB_DATABASE:
                _, _, sub_depth, _, _, _, n_entries, sub_root = DATABASE.unpack_from(page, start)
                yield key, _Tree(n_entries, sub_depth, sub_root)
            elif kind & BIG:
                reached.n += (PAGE_HEADER.size + length + page_size - 1) // page_size
                yield key, Value(_overflow(blob, page_size, page, start, length), length)
            else:
                if start + length > page_size:
                    raise _damaged(blob, at + node, "a value reaches beyond its page")
                yield key, Value(at + start, length)


def _overflow(blob: Blob, page_size: int, page: bytes, at: int, length: int) -> int:
    """The offset of a value that has pages of its own."""
    number = int.from_bytes(page[at : at + 8], "little")
    start = number * page_size + PAGE_HEADER.size
    if number < 2 or start + length > blob.size:
        raise _damaged(blob, start, f"a value of {length} bytes lies beyond the end")
    return start
