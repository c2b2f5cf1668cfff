"""Whether values may be images: files as they are or as text, and numbers in the shape of pixels."""

from __future__ import annotations

import math
import re
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from unveil.images.decode import MIN_SIDE
from unveil.images.signatures import AT_START, AVIF_BRANDS, HEIC_BRANDS, JPEG, PNG

# The least numbers of an image: a face has 32 pixels a side, or it is rejected.
MIN_PIXELS = 32 * 32
# Embeddings have up to this many numbers. One row of a map of features has more, but is no square.
MAX_VECTOR, MAX_MAP, MAX_RATIO = 4096, 2**16, 4
# Bytes and characters of a value that no signature explains: an embedding, and metadata.
MAX_OPAQUE, MAX_TEXT = 4 * MAX_VECTOR, 2**16
# Unpacked bytes of all parts that are looked at, for each byte of the file and for any file: texts shrink more than
# images, but a stranger's file that unpacks to more would cost hours.
LOOKED_AT, SPARE_BYTES = 8, 2**26
# Values within a value that are looked at.
MAX_VALUES = 2**20
# Characters of Base64 or hexadecimal digits that are decoded to see whether an image begins there.
DECODED = 4096

# Digits and what stands between whole numbers become one byte, and all others zero; so many may be numbers of an image.
_DIGITS = bytes(1 if k in b"0123456789 ,;[]()\t\r\n" else 0 for k in range(256))
_NUMBER, _RUN = re.compile(rb"\d+"), b"\1" * (2 * MIN_PIXELS - 1)
MIN_NUMBERS = len(_RUN)

_ISO_BRANDS = frozenset((*AVIF_BRANDS, *HEIC_BRANDS))
_SEGMENT_NAMES = (b"JFIF", b"JFXX", b"Exif", b"http:", b"ICC_P", b"Photo", b"Adobe")
_QUANTISATION, _TABLE_LENGTHS = 0xDB, (67, 132, 197, 262)
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+")
_HEX = re.compile(rb"[0-9a-fA-F]+")
# Formats whose signature is too short to count within a value.
_AT_START = re.compile(
    AT_START + rb"|P7\n|8BPS\0|v/1\x01|#\?RADIANCE|(?:<\?xml[^>]*>\s*)?<svg",
    re.DOTALL,
)
# Base64 of the first bytes of BMP, netpbm and TIFF.
_ENCODED_STARTS = (b"Qk", b"UD", b"SU", b"TU")
# The first two bytes of what `shows_image` looks at from its start, and whether two bytes are among them.
_STARTS = (b"II", b"MM", b"BM", b"8B", b"v/", b"#?", b"<s", b"<?", *(b"P%d" % k for k in range(1, 8)), *_ENCODED_STARTS)
_BEGINS = np.zeros(2**16, np.bool_)
_BEGINS[[int.from_bytes(start, "little") for start in _STARTS]] = True


def most_looked_at(size: int) -> int:
    """The unpacked bytes that are looked at in a file of ``size`` bytes, beside the images."""
    return LOOKED_AT * size + SPARE_BYTES


def may_be_image(value: object) -> bool:
    """Whether a value holds an image, or data of which an image could be made: bytes, text, numbers, or lists and maps
    of them."""
    waiting, whole, floats, length = [value], 0, 0, 0
    for _ in range(MAX_VALUES):
        if not waiting:
            return whole >= MIN_PIXELS or floats > MAX_VECTOR or length > MAX_TEXT
        item: Any = waiting.pop()
        if isinstance(item, (str, bytes, bytearray, memoryview)):
            length += len(item)
            if opaque(item):
                return True
        elif isinstance(item, int):  # truth values as well
            whole += 1
        elif isinstance(item, float):
            floats += 1
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, np.ndarray) and item.dtype.kind not in "OSUV":
            if may_be_pixels(item.shape, item.dtype):
                return True
        elif isinstance(item, np.ndarray):
            waiting += [item.tobytes()] if item.dtype.kind == "V" else item.ravel().tolist()
        elif isinstance(item, (list, tuple)):  # an extension type of msgpack is a number and bytes
            kinds = set(map(type, item))
            if kinds == {float}:
                floats += len(item)
            elif kinds <= {int, float, bool}:
                whole += len(item)
            else:
                waiting += item
    return True


def is_large(value: object) -> bool:
    """Whether a value has room for an image, whatever it holds."""
    if isinstance(value, (list, tuple, dict)):
        return len(value) >= MIN_PIXELS or not all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (str, bytes)) and len(value) >= MIN_PIXELS


def kind_of(value: object) -> str:
    """The type of a value, in words."""
    first = value[0] if isinstance(value, list) and value else None
    return f"list of {type(first).__name__}" if first is not None else type(value).__name__


def opaque(value: str | bytes | bytearray | memoryview) -> bool:
    """Whether bytes or a text hold an image, as it is or encoded as text, or are longer than other values."""
    if isinstance(value, str):
        return len(value) > MAX_TEXT or shows_image(value.encode("utf-8", "surrogatepass"))
    return len(value) > MAX_OPAQUE or shows_image(bytes(value))


def may_be_pixels(shape: Sequence[int], dtype: np.dtype[Any] | None) -> bool:
    """Whether numbers (H, W, ...) or (N,) may be an image; ``dtype`` None stands for whole numbers.

    Vectors of floats, such as embeddings, and points, such as landmarks, are none.
    """
    total = math.prod(shape)
    if dtype is not None and dtype.kind == "c":
        total *= 2
    sides = [(a, b) for a, b in pairwise(shape) if min(a, b) >= MIN_SIDE]
    if dtype is None or dtype.kind not in "fc":
        return total >= MIN_PIXELS or bool(sides)
    if len(shape) < 2:
        return total > MAX_VECTOR
    return total > MAX_MAP or any(max(pair) <= MAX_RATIO * min(pair) for pair in sides)


def shows_image(data: bytes) -> bool:
    """Whether an image file is in bytes: at their start or within them, as it is, in Base64, in hexadecimal digits, as
    the escapes of Python, or in a ``data:`` address. So do 1,024 whole numbers one after the other."""
    return begins_image(data) or image_within(data) or numbers_within(data)


def begins_image(data: bytes) -> bool:
    """Whether bytes begin like an image of a format whose signature is short, as it is or in Base64."""
    head = data[:DECODED]
    return _AT_START.match(_decoded(head, 0) if head[:2] in _ENCODED_STARTS else head) is not None


def texts_show_images(data: bytes, offsets: npt.NDArray[np.int64] | int) -> bool:
    """`shows_image` for any of many values in one: ``offsets`` (N + 1,) say where each begins and ends, or how many
    bytes each has."""
    if isinstance(offsets, int):
        offsets = np.arange(0, len(data) + 1, offsets)
    if image_within(data):
        return True
    lengths = np.diff(offsets)
    if any(numbers_within(data[int(offsets[k]) : int(offsets[k + 1])]) for k in np.flatnonzero(lengths >= MIN_NUMBERS)):
        return True
    long = np.flatnonzero(lengths >= 2)
    starts, values = offsets[:-1][long], np.frombuffer(data, np.uint8)
    if not len(starts):
        return False
    begins = may_begin(values[starts], values[starts + 1])
    return any(
        begins_image(data[int(offsets[k]) : min(int(offsets[k + 1]), int(offsets[k]) + DECODED)]) for k in long[begins]
    )


def may_begin(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which values (N,) may begin like an image of a format with a short signature, by their first two bytes."""
    return np.asarray(_BEGINS[first.astype(np.uint16) | second.astype(np.uint16) << 8], np.bool_)


def image_within(data: bytes) -> bool:
    """As `shows_image`, without the formats that only the start of a value shows, and without numbers."""
    for signature, holds in _SIGNATURES:
        at = data.find(signature)
        while at >= 0:
            if holds is None or holds(data, at):
                return True
            at = data.find(signature, at + 1)
    return False


def numbers_within(data: bytes) -> bool:
    """Whether a text holds the whole numbers of an image, one after the other."""
    marked = data.translate(_DIGITS)
    at = marked.find(_RUN)
    while at >= 0:
        end = marked.find(b"\0", at)
        end = len(data) if end < 0 else end
        if len(_NUMBER.findall(data, at, end)) >= MIN_PIXELS:
            return True
        at = marked.find(_RUN, end)
    return False


def _is_jpeg(data: bytes, at: int) -> bool:
    """Whether a segment of a JPEG follows its first two bytes, which alone may be a coincidence."""
    head = data[at + 3 : at + 11]
    if len(head) < 8 or not 0xC0 <= head[0] <= 0xFE:
        return False
    length = int.from_bytes(head[1:3], "big")
    if head[3:].startswith(_SEGMENT_NAMES) or (head[0] == _QUANTISATION and length in _TABLE_LENGTHS):
        return True
    following = data[at + 4 + length : at + 6 + length]
    return length >= 2 and len(following) == 2 and following[0] == 0xFF and 0xC0 <= following[1] <= 0xFE


def _is_iso(data: bytes, at: int) -> bool:
    return at >= 4 and data[at + 4 : at + 8] in _ISO_BRANDS


def _decoded(data: bytes, at: int) -> bytes:
    """The first bytes that Base64 stands for, up to a character that is none."""
    run = _BASE64.match(data[at : at + DECODED].replace(b"_", b"/").replace(b"-", b"+"))
    text = b"".join(run[0].split()) if run else b""
    return a2b_base64(text[: len(text) // 4 * 4])


def _of_base64(data: bytes, at: int) -> bool:
    decoded = _decoded(data, at)
    return _is_jpeg(decoded, 0) if decoded[:3] == JPEG else decoded[8:12] == b"WEBP"


def _iso_of_base64(data: bytes, at: int) -> bool:
    return data[max(0, at - 5) : at - 1] == b"AAAA"


def _of_hex(data: bytes, at: int) -> bool:
    run = _HEX.match(data, at, at + DECODED)
    text = run[0] if run else b""
    return _is_jpeg(bytes.fromhex(text[: len(text) // 2 * 2].decode()), 0)


# Bytes that begin an image, and what has to hold there in addition.
_SIGNATURES: tuple[tuple[bytes, Callable[[bytes, int], bool] | None], ...] = (
    (JPEG, _is_jpeg),
    (PNG, None),
    (b"GIF87a", None),
    (b"GIF89a", None),
    (b"WEBPVP8", None),
    (b"ftyp", _is_iso),
    (b"\0\0\0\x0cJXL \r\n", None),
    (b"\0\0\0\x0cjP  \r\n", None),
    (b"\xff\x4f\xff\x51\0", None),
    # Base64, of which one alphabet has _ in place of /
    (b"/9j/", _of_base64),
    (b"_9j_", _of_base64),
    (b"iVBORw0KGgo", None),
    (b"R0lGODlh", None),
    (b"R0lGODdh", None),
    (b"UklGR", _of_base64),
    (b"GZ0eXB", _iso_of_base64),
    (b"data:image/", None),
    # hexadecimal digits
    (b"ffd8ff", _of_hex),
    (b"FFD8FF", _of_hex),
    (b"89504e470d0a1a0a", None),
    (b"89504E470D0A1A0A", None),
    (b"474946383961", None),
    (b"474946383761", None),
    (b"6674797061766966", None),
    (b"57454250565038", None),
    # bytes as Python and Latin-1 show them
    (rb"\x89PNG", None),
    (rb"\xff\xd8\xff", None),
    (b"\xc2\x89PNG\r\n", None),
    (b"\xc3\xbf\xc3\x98\xc3\xbf", None),
)
