"""What a file holds that does not look like an image by its name, recognised by its first bytes."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from unveil.images.archives import is_archive
from unveil.images.decode import MIN_SIDE, OTHER_FORMATS, is_image
from unveil.images.image_like import shows_image
from unveil.images.signatures import NETPBM
from unveil.io.npy import MAGIC as NPY
from unveil.io.npy import npy_header

# What a file can hold that an audit has to say something about. What lies ``within`` other content is an image, or as
# many numbers.
Content = Literal["image", "pixels", "container", "within"]
# First bytes of a file that are looked at.
HEAD = 2**16
# Formats that are not read, whose first bytes are enough to tell. ICO has an image whose entry has a zero.
_NOT_READ = tuple(start for start, _ in OTHER_FORMATS if len(start) > 3 and start not in (NPY, b"\0\0\1\0"))
_ICO = re.compile(rb"\0\0\x01\0[\x01-\xff]\0...\0", re.DOTALL)
# A text may begin with P4 and a number, but not with two numbers.
_NETPBM = re.compile(NETPBM)


def content_of(head: bytes) -> Content | None:
    """An image, pixels in an array of NumPy, an archive, document, video or container, or other content with an image
    in it; None for anything else.

    ``head`` are the first `HEAD` bytes of a file.
    """
    if is_image(head) and (head[:1] != b"P" or _NETPBM.match(head)):
        return "image"
    if head.startswith(_NOT_READ) or _ICO.match(head):
        return "image"
    if head.startswith(NPY):
        try:
            shape, _, dtype, _ = npy_header(head)
        except ValueError:
            return None
        return "pixels" if is_pixels(shape, dtype) else None
    if is_archive(head):
        return "container"
    return "within" if shows_image(head) else None


def is_pixels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array is plainly an image or a stack of images in colour: (..., H, W, C) or (..., C, H, W)."""
    if len(shape) < 3 or dtype.kind not in "uif":
        return False
    *_, a, b, c = shape
    return (c in (3, 4) and min(a, b) >= MIN_SIDE) or (a in (3, 4) and min(b, c) >= MIN_SIDE)
