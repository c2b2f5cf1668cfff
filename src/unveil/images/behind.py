"""What lies behind the first image of a file: another image could hide there, since viewers show the first alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from unveil.images.signatures import AT_START, AVIF_BRANDS, BMP, GIF, HEIC_BRANDS, JPEG, PNG, RIFF, TIFF

# Segments and filling bytes before the scans of a JPEG; profiles and metadata of 64 MiB have a thousand segments.
MAX_MARKERS, TOO_MANY = 10_000, -1
# Images behind the first one. Telephones add a depth map, a map of brightness or a second view.
MAX_FURTHER = 16
# Markers of all kinds of frames of a JPEG, and of the one that says where a scan begins.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SCAN = 0xDA
# Pixels of an image whose size is not known.
UNKNOWN = 2**62
_JPEG_END, _IEND = b"\xff\xd9", b"IEND"
# Bytes of the last chunk of a PNG from its type on, and of a chunk beside its content.
_LAST_CHUNK, _CHUNK = 8, 12
# Chunks of a PNG that are animations, those that stand once, or one behind the other, and how many are looked at.
_PIXELS, _ANIMATED = b"IDAT", (b"acTL", b"fcTL", b"fdAT")
_ONCE, MAX_CHUNKS = (b"IHDR", b"PLTE", _PIXELS), 200_000
# Bytes of the signature of a file.
_WITHIN = 16
# Kinds of netpbm files; the first three are texts.
_KINDS = (b"1", b"2", b"3", b"4", b"5", b"6")
# Of the headers of BMP that state no compression, and of the text at the start of a netpbm file.
_BMP_CORE_HEADER, MAX_TEXT_HEADER = 12, 2**16
# Bytes of the palette of a BMP, and of what else may lie between its headers and its pixels.
MAX_BMP_GAP = 1024 + 256
# Compressions of BMP that leave the pixels as they are: none, and masks of colours.
_PLAIN = (0, 3, 6)
# A number in the header of a netpbm file, and the headers of bitmaps, which have no largest value, and of the others.
_FIELD = rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})"
_NETPBM = {kind: re.compile(rb"P" + kind + (2 if kind in b"14" else 3) * _FIELD + rb"\s") for kind in _KINDS}
_FLOATS = re.compile(rb"P[fF]\s{1,9}(\d{1,9})\s{1,9}(\d{1,9})\s{1,9}-?[\d.e+-]{1,20}\s")
# Bytes of a text that are looked at together.
_BLOCK = 2**20
# What fills a file up, and what a writer may end a text with.
_PADDING = b"\0 \t\r\n"
# Kinds of images whose sizes are not looked for: PNG and JPEG have one. BMP, TIFF and netpbm count at the start alone.
_OTHERS = (
    *(*GIF, b"WEBPVP8", b"\xff\x4f\xff\x51\0", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  "),
    *(b"ftyp" + brand for brand in (*AVIF_BRANDS, *HEIC_BRANDS)),
)
_AT_START = re.compile(AT_START, re.DOTALL)


class Behind(NamedTuple):
    """The pixels of each image behind the first one, `UNKNOWN` where they are not known, and whether there are any
    bytes behind it that do not only fill the file up."""

    pixels: list[int]
    more: bool


def behind_first(data: bytes) -> Behind:
    """What follows the first image of a file; images in it, such as thumbnails, do not count.

    The end of a GIF, AVIF or HEIC file is not looked for: every other image in it counts, and nothing else. Nor is that
    of a compressed BMP, or of a netpbm file with another header: there any byte counts. What follows in a TIFF is not
    known, since its parts may be JPEG.
    """
    end = _end_of_first(data)
    rest = (_gap_of_bmp(data) + data[end:]).lstrip(_PADDING)
    if not rest:
        return Behind([], False)
    known = end != _WITHIN or data.startswith((BMP, b"P"))
    pixels = [UNKNOWN] if (known and _AT_START.match(rest)) or any(kind in rest for kind in _OTHERS) else []
    at = -1
    while (at := _next(rest, at + 1)) >= 0:
        if len(pixels) == MAX_FURTHER:
            return Behind([*pixels, UNKNOWN], True)
        found = _pixels(rest, at)
        if found is not None or at == 0:
            pixels.append(UNKNOWN if found is None else found)
    return Behind(pixels, known or bool(pixels))


def _next(data: bytes, start: int) -> int:
    """Where the next PNG or JPEG begins; -1 where none does."""
    found = [at for at in (data.find(JPEG, start), data.find(PNG, start)) if at >= 0]
    return min(found, default=-1)


def _pixels(data: bytes, at: int) -> int | None:
    """Width times height of the PNG or JPEG at a place; None for a JPEG without a frame, as chance may make them."""
    if data.startswith(PNG, at):
        return number(data, at + 16, 4) * number(data, at + 20, 4)
    marker, frame = next(((m, k) for m, k in segments(data, at) if m in FRAMES or m == TOO_MANY), (None, 0))
    if marker == TOO_MANY:
        return UNKNOWN
    return None if marker is None else number(data, frame + 7, 2) * number(data, frame + 5, 2)


def segments(data: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """The marker and the first byte of each segment before the scans of the JPEG that begins at ``start``.

    The last marker is `TOO_MANY` where there are more than `MAX_MARKERS`.
    """
    at, n = start + 2, 0
    while data[at : at + 1] == b"\xff" and at + 5 <= len(data):
        n += 1
        if n > MAX_MARKERS:
            yield TOO_MANY, at
            return
        if data[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        yield data[at + 1], at
        if data[at + 1] == SCAN:
            return
        at += 2 + number(data, at + 2, 2)


def scan_of(data: bytes) -> int | None:
    """Where the first scan of a JPEG begins; None where it has none or too much before it."""
    return next((at for marker, at in segments(data) if marker == SCAN), None)


def number(data: bytes, at: int, n: int) -> int:
    """The whole number of ``n`` bytes, the first of which counts most."""
    return int.from_bytes(data[at : at + n], "big")


def _end_of_first(data: bytes) -> int:
    """The byte after the first image of a file, or `_WITHIN` where that is not looked for."""
    ends: tuple[tuple[bytes, Callable[[bytes], int]], ...] = (
        *((JPEG, _end_of_jpeg), (PNG, _end_of_png), (RIFF, _end_of_riff)),
        *((BMP, _end_of_bmp), *((b"P" + kind, _end_of_netpbm) for kind in _KINDS)),
        *((b"Pf", _end_of_floats), (b"PF", _end_of_floats)),
        *((start, len) for start in TIFF),
    )
    return next((end(data) for signature, end in ends if data.startswith(signature)), _WITHIN)


def _end_of_jpeg(data: bytes) -> int:
    if data.find(_JPEG_END) == len(data) - len(_JPEG_END):  # no thumbnail, and nothing can follow
        return len(data)
    # Where no scan is found, the end of a thumbnail may be taken for that of the image.
    end = data.find(_JPEG_END, scan_of(data) or 0)
    return end + len(_JPEG_END) if end >= 0 else len(data)


def _end_of_png(data: bytes) -> int:
    at = data.find(_IEND)
    if at == len(data) - _LAST_CHUNK:  # nothing can follow
        return len(data)
    return max((at for _, at in chunks(data)), default=len(PNG)) + _CHUNK


def chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The type of each chunk of a PNG, and where it begins. The last is IEND, or lies behind the end of the file."""
    at, kind = len(PNG), b""
    while kind != _IEND:
        kind = data[at + 4 : at + 8]
        yield kind, at
        if at >= len(data):
            return
        at += _CHUNK + number(data, at, 4)


def not_still(data: bytes) -> str | None:
    """Why other programs may see another image in a PNG than the first; None for one that is a single image.

    Decoders differ in what they make of the chunks of animations, and of pixels and headers that stand twice.
    """
    before, seen = b"", set[bytes]()
    for n, (kind, _) in enumerate(chunks(data)):
        if kind in _ANIMATED:
            return f"it has the chunk {kind.decode()} of animations"
        if kind in _ONCE and kind in seen and (kind != _PIXELS or before != _PIXELS):
            return f"its chunk {kind.decode()} stands twice"
        if kind == b"PLTE" and _PIXELS in seen:
            return "its palette stands behind its pixels"
        if n == MAX_CHUNKS:
            return f"it has more than {MAX_CHUNKS} chunks"
        before = kind
        seen.add(kind)
    return None


def _end_of_riff(data: bytes) -> int:
    size = int.from_bytes(data[4:8], "little")
    return 8 + size + size % 2


def _gap_of_bmp(data: bytes) -> bytes:
    """What lies between the headers and the pixels of a BMP, beyond what a palette and profiles of colours take."""
    if not data.startswith(BMP):
        return b""
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    gap = data[14 + header : start]
    return gap if len(gap) > MAX_BMP_GAP else b""


def _end_of_bmp(data: bytes) -> int:
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    if header == _BMP_CORE_HEADER:
        width, height, _, bits = (int.from_bytes(data[at : at + 2], "little") for at in range(18, 26, 2))
        compression = 0
    else:
        width, height, compression = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22, 30))
        bits = int.from_bytes(data[28:30], "little")
    plain = compression in _PLAIN and width > 0
    return start + (width * bits + 31) // 32 * 4 * abs(height) if plain else _WITHIN


def _end_of_netpbm(data: bytes) -> int:
    kind = data[1:2]
    header = _NETPBM[kind].match(data, 0, MAX_TEXT_HEADER)
    if header is None:
        return _WITHIN
    width, height, *most = map(int, header.groups())
    if kind in b"123":
        return _end_of_values(data, header.end(), width * height * (3 if kind == b"3" else 1), digits=kind == b"1")
    if kind == b"4":
        return header.end() + (width + 7) // 8 * height
    return header.end() + width * height * (3 if kind == b"6" else 1) * (2 if most[0] > 255 else 1)


def _end_of_floats(data: bytes) -> int:
    """The end of a portable map of floats: four bytes for each value, in one plane or in three."""
    header = _FLOATS.match(data)
    if header is None:
        return _WITHIN
    return header.end() + int(header[1]) * int(header[2]) * (12 if data[1:2] == b"F" else 4)


def _end_of_values(data: bytes, at: int, n: int, *, digits: bool) -> int:
    """Where a text goes on after ``n`` whole numbers, or is no list of them. With ``digits``, each is a number."""
    after_digit = False
    while at < len(data):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - at), at)
        digit = (block >= ord("0")) & (block <= ord("9"))
        other = ~digit & (block != ord(" ")) & ((block < ord("\t")) | (block > ord("\r")))
        begins = np.flatnonzero(digit if digits else digit & ~np.append(after_digit, digit[:-1]))
        end = int(other.argmax()) if other.any() else len(block)
        end = min(end, int(begins[n]) if len(begins) > n else len(block))
        if end < len(block):
            return at + end
        n, after_digit, at = n - len(begins), bool(digit[-1]), at + len(block)
    return len(data)
