"""Whether the file of an image asks for colours that its decoded pixels do not show. They are not applied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image

from unveil.images.behind import chunks, number
from unveil.images.signatures import AVIF_BRANDS, HEIC_BRANDS, PNG

# Transfer functions of ITU-T H.273 by which screens show about the same: of television, sRGB, and gamma 2.2 and 2.8.
_SCREEN_TRANSFER = frozenset({1, 2, 4, 5, 6, 11, 13, 14, 15})
_FULL_RANGE = 1
# A profile is this large at most: larger ones hold tables. So many are looked at once for many images.
MAX_PROFILE, CACHED_PROFILES = 2**16, 64
# ICC.1: the header of a profile, what each of its tags takes, and the most that one has.
_HEADER, _TAG, MAX_TAGS = 128, 12, 200
# How bright a value of one half is shown: 0.21 by sRGB, 0.29 by gamma 1.8 and 0.16 by gamma 2.6.
_MIDDLE = 0.12, 0.4
_CURVES, _PRIMARIES = (b"rTRC", b"gTRC", b"bTRC"), (b"rXYZ", b"gXYZ", b"bXYZ")
_GRAY_CURVE = b"kTRC"
# Tags that hold tables of colours instead of curves.
_TABLES = (b"A2B", b"D2B")
_HEAD = 2**16


def asks_for_other_colours(image: Image.Image, data: bytes) -> bool:
    """Whether viewers that apply what a file states about its colours show others than its pixels.

    ``image`` is opened from ``data``. Usual profiles and spaces, such as Adobe RGB, Display P3 and those of cameras,
    only change shades and do not count.
    """
    if data.startswith(PNG):
        stated = next((data[at + 8 : at + 12] for kind, at in _before_pixels(data) if kind == b"cICP"), None)
        if stated is not None:  # it comes before everything else
            return len(stated) < 4 or stated[1] not in _SCREEN_TRANSFER or stated[3] != _FULL_RANGE
    elif data[4:8] == b"ftyp" and data[8:12] in (*AVIF_BRANDS, *HEIC_BRANDS):
        transfers = [number(part, 2, 2) for part in data[:_HEAD].split(b"colrnclx")[1:]]
        if any(transfer not in _SCREEN_TRANSFER for transfer in transfers):
            return True
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return len(profile) > MAX_PROFILE or _is_unusual(profile)
    corners = image.info.get("chromaticity")
    if "srgb" in image.info or not isinstance(corners, tuple) or len(corners) != 8:
        return False
    red, green, blue = (tuple(map(float, corners[k : k + 2])) for k in (2, 4, 6))
    return not (red[0] > max(green[0], blue[0]) and green[1] > max(red[1], blue[1]) and sum(blue) < sum(red))


def _before_pixels(data: bytes) -> Iterator[tuple[bytes, int]]:
    return itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", chunks(data))


@lru_cache(CACHED_PROFILES)
def _is_unusual(profile: bytes) -> bool:
    """Whether an ICC profile does more than to name the primaries and the curve of a screen or camera."""
    n = number(profile, _HEADER, 4)
    if n > MAX_TAGS or len(profile) < _HEADER + 4:
        return True
    starts = range(_HEADER + 4, _HEADER + 4 + n * _TAG, _TAG)
    tags = {
        profile[k : k + 4]: profile[(at := number(profile, k + 4, 4)) : at + number(profile, k + 8, 4)] for k in starts
    }
    if any(name[:3] in _TABLES for name in tags):
        return True
    if _GRAY_CURVE in tags:
        return not _is_screen_curve(tags[_GRAY_CURVE])
    if not all(name in tags for name in (*_CURVES, *_PRIMARIES)):
        return True
    # Red, green and blue are the largest part of X, Y and Z in every space of a screen or camera.
    parts = [[int.from_bytes(tags[name][k : k + 4], "big", signed=True) for k in (8, 12, 16)] for name in _PRIMARIES]
    in_order = all(own[k] == max(own) > 0 for k, own in enumerate(parts))
    return not (in_order and all(_is_screen_curve(tags[name]) for name in _CURVES))


def _is_screen_curve(tag: bytes) -> bool:
    """Whether a curve of a profile rises about as that of a screen does."""
    if tag[:4] == b"para":  # Y = X^g, and forms of it with a straight part
        return _shown_by(number(tag, 12, 4) / 2**16)
    if tag[:4] != b"curv":
        return False
    n = number(tag, 8, 4)
    if n == 1:
        return _shown_by(number(tag, 12, 2) / 2**8)
    values = np.frombuffer(tag[12 : 12 + 2 * n], ">u2", len(tag[12 : 12 + 2 * n]) // 2).astype(np.int64)
    if len(values) < 2 or (np.diff(values) < 0).any():
        return False
    return _MIDDLE[0] <= int(values[len(values) // 2]) / 2**16 <= _MIDDLE[1]


def _shown_by(gamma: float) -> bool:
    return _MIDDLE[0] <= float(0.5**gamma) <= _MIDDLE[1]
