"""What a file holds that does not look like an image by its name, recognised by its first bytes."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from unveil.images.decode import MIN_SIDE, is_image
from unveil.images.unpacked import compression_of
from unveil.io.npy import MAGIC as NPY
from unveil.io.npy import npy_header

# What a file can hold that an audit has to say something about.
Content = Literal["image", "pixels", "container"]
# First bytes that are enough to tell.
HEAD = 512
# The last two are RecordIO and a database.
CONTAINERS = (
    *(b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7", b"PAR1", b"ARROW1", b"\x89HDF\r\n\x1a\n"),
    *(b"\n#\xd7\xce", b"SQLite format 3\0"),
)
_TAR, _LMDB = slice(257, 262), slice(16, 20)
# A text may begin with P4 and a number, but not with two numbers.
_NETPBM = re.compile(rb"P[1-6]\s+(?:#[^\r\n]*\s+)*\d+\s+\d+\s")


def content_of(head: bytes) -> Content | None:
    """An image, raw pixels in an array of NumPy, or an archive or container; None for anything else.

    ``head`` are the first `HEAD` bytes of a file.
    """
    if is_image(head) and (head[:1] != b"P" or _NETPBM.match(head)):
        return "image"
    if head.startswith(NPY):
        try:
            shape, _, dtype, _ = npy_header(head)
        except ValueError:
            return None
        return "pixels" if is_pixels(shape, dtype) else None
    inside = head[_TAR] == b"ustar" or head[_LMDB] == b"\xde\xc0\xef\xbe"
    return "container" if inside or head.startswith(CONTAINERS) or compression_of(head) is not None else None


def is_pixels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array is plainly an image or a stack of images in colour: (..., H, W, C) or (..., C, H, W)."""
    if len(shape) < 3 or dtype.kind not in "uif":
        return False
    *_, a, b, c = shape
    return (c in (3, 4) and min(a, b) >= MIN_SIDE) or (a in (3, 4) and min(b, c) >= MIN_SIDE)
