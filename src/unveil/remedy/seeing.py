"""Pictures that come one by one, seen as an audit saw its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.channels import Detector, Shot
from unveil.channels.alignment import Alignment, recognise
from unveil.errors import InputError
from unveil.images import decode_rgb
from unveil.images.source import MAX_FILE_BYTES, read_picture
from unveil.work import Way

# A picture: pixels (H, W, 3) uint8 RGB, the bytes of a picture file, or its path.
Picture = npt.NDArray[np.uint8] | bytes | str | Path


def shots(pictures: Sequence[Picture], alignment: Alignment | None, detector: Detector) -> list[Callable[[], Shot]]:
    """How each picture is looked at when its turn comes; without an ``alignment`` each tells whether it is an aligned
    crop. InputError for pixels of another shape or type."""
    for picture in pictures:
        if isinstance(picture, np.ndarray) and not _is_picture(picture):
            raise InputError(f"pixels should be (H, W, 3) uint8 RGB, got {picture.shape} {picture.dtype}")
    return [partial(_shot, picture, alignment, detector) for picture in pictures]


def _is_picture(pixels: npt.NDArray[np.uint8]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and 0 not in pixels.shape


def _shot(picture: Picture, alignment: Alignment | None, detector: Detector) -> Shot:
    if isinstance(picture, (str, Path)):
        picture = read_picture(picture, MAX_FILE_BYTES)
    if isinstance(picture, bytes) and alignment is not None:
        return Way([], alignment, detector).shot(picture)
    pixels = decode_rgb(picture) if isinstance(picture, bytes) else picture
    height, width = pixels.shape[:2]
    if alignment is None:
        return Shot(pixels, height == width and recognise([pixels])[0], detector)
    return Shot(pixels, alignment.covers(width, height), detector)
