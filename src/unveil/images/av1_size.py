"""How large the images in an AVIF are by their AV1 streams. libavif decodes that size, and scales it to the stated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from unveil.images.behind import number

# Boxes, items, extents and units that are looked at. A grid has some hundred items.
MAX_PARTS = 10_000
_LOOKED_AT = frozenset({b"meta", b"iinf", b"iloc", b"idat"})
_SEQUENCE_HEADER = 1
_EXTENT_IN_FILE, _EXTENT_IN_IDAT = 0, 1
# Bytes of a sequence header of a still image; others have more, which are not needed.
_HEADER_BYTES = 24


class CodedSize(NamedTuple):
    """Pixels of the largest stream of an AVIF, and of all together, as its decoder may hold them."""

    largest: int
    total: int


def coded_size(data: bytes) -> CodedSize | None:
    """The pixels that the AV1 streams of an AVIF state; None where that is not found, as in a sequence of images."""
    try:
        return _coded_size(data)
    except (ValueError, KeyError):
        return None


def _coded_size(data: bytes) -> CodedSize:
    top = _once(_boxes(data))
    if b"moov" in top:
        raise ValueError("a sequence of images")
    sizes = [size for stream in _streams(data, _once(_boxes(top[b"meta"][4:]))) for size in _sizes(stream)]
    if not sizes:
        raise ValueError("no stream")
    return CodedSize(max(stated for stated, _ in sizes), sum(possible for _, possible in sizes))


def is_sequence(data: bytes) -> bool:
    """Whether an AVIF has tracks, as a sequence of images has."""
    try:
        return any(kind == b"moov" for kind, _ in _boxes(data))
    except ValueError:
        return False


def _once(boxes: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The content of boxes by their types; ValueError where those that are looked at stand twice."""
    found: dict[bytes, bytes] = {}
    for kind, content in boxes:
        if kind in _LOOKED_AT and kind in found:
            raise ValueError("a box that stands twice")
        found[kind] = content
    return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and the content of each box; ValueError for one that does not fit."""
    at = 0
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return
        size, header = number(data, at, 4), 8
        if size == 1:
            size, header = number(data, at + 8, 8), 16
        size = size or len(data) - at
        if size < header or at + size > len(data):
            raise ValueError("a box that does not fit")
        yield data[at + 4 : at + 8], data[at + header : at + size]
        at += size
    raise ValueError("too many boxes")


def _streams(data: bytes, meta: dict[bytes, bytes]) -> Iterator[bytes]:
    """The AV1 stream of each item (ISO/IEC 14496-12, 8.11.3 and 8.11.6)."""
    kinds = _kinds(meta[b"iinf"])
    read = _Numbers(meta[b"iloc"])
    version = read.next(4) >> 24
    sizes = read.next(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(min(MAX_PARTS, read.next(4 if version == 2 else 2))):
        item = read.next(4 if version == 2 else 2)
        method = read.next(2) & 15 if version in (1, 2) else _EXTENT_IN_FILE
        read.next(2)
        start, parts = read.next(base), []
        for _ in range(min(MAX_PARTS, read.next(2))):
            read.next(index if version in (1, 2) else 0)
            at, n = start + read.next(offset), read.next(length)
            within = meta[b"idat"] if method == _EXTENT_IN_IDAT else data
            parts.append(within[at : at + n if n else len(within)])
        if kinds.get(item) == b"av01":
            if method not in (_EXTENT_IN_FILE, _EXTENT_IN_IDAT) or sum(map(len, parts)) > len(data):
                raise ValueError("an item in other items")
            yield b"".join(parts)


def _kinds(iinf: bytes) -> dict[int, bytes]:
    kinds: dict[int, bytes] = {}
    for name, entry in _boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        if name == b"infe":
            wide = 4 if entry[:1] == b"\3" else 2
            item = number(entry, 4, wide)
            if item in kinds:
                raise ValueError("an item that stands twice")
            kinds[item] = entry[6 + wide : 10 + wide]
    return kinds


class _Numbers:
    """Whole numbers of a box, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def next(self, n: int) -> int:
        if self._at + n > len(self._data):
            raise ValueError("a box that is cut off")
        self._at += n
        return number(self._data, self._at - n, n)


def _sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Pixels that each sequence header in a stream states, and the most that its frames can have (AV1, 5.3 to 5.5)."""
    at, found = 0, False
    for _ in range(MAX_PARTS):
        if at >= len(stream):
            break
        head = stream[at]
        at += 2 if head & 4 else 1
        size, shift = len(stream) - at, 0
        if head & 2:
            size = 0
            for shift in range(0, 56, 7):
                byte = number(stream, at, 1)
                at, size = at + 1, size | (byte & 127) << shift
                if byte < 128:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            found = True
            yield _size_of(stream[at : at + min(size, _HEADER_BYTES)])
        at += size
    if at != len(stream) or not found:
        raise ValueError("a stream that does not fit")


def _size_of(header: bytes) -> tuple[int, int]:
    bits = f"{int.from_bytes(header, 'big'):0{8 * len(header)}b}" if header else ""
    if len(bits) < 40:
        raise ValueError("a header that is cut off")
    reduced = bits[4] == "1"
    at = 10
    if not reduced:
        if bits[5] == "1" or bits[6] == "1" or bits[7:12] != "00000":  # timing, delays or several operating points
            raise ValueError("a header of a video")
        at = 12 + 12 + 5
        at += int(bits[24:29], 2) > 7
    n_width, n_height = int(bits[at : at + 4], 2) + 1, int(bits[at + 4 : at + 8], 2) + 1
    at += 8
    sides = bits[at : at + n_width], bits[at + n_width : at + n_width + n_height]
    if len(sides[1]) < n_height:
        raise ValueError("a header that is cut off")
    stated = (int(sides[0], 2) + 1) * (int(sides[1], 2) + 1)
    # A frame that is no reduced still image may state a size of its own, of as many bits.
    return stated, stated if reduced else 1 << n_width + n_height
