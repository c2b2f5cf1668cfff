"""Bytes of a stranger's picture to RGB pixels, within limits, without crashing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from unveil.errors import ImageError

# Only formats that face datasets come in: every further decoder is surface for hostile files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
MAX_PIXELS = 80_000_000
MIN_SIDE = 16

# Our own limit is lower than Pillow's, whose warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# What an EXIF orientation tag asks for, beyond "as it is".
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels by the header alone; PictureError as for `decode_rgb`."""
    return _open(data).size


def decode_rgb(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB, upright by the EXIF orientation; PictureError for anything else.

    Transparent pictures lose their alpha, 16-bit grey keeps its upper byte, animations give their first frame.
    """
    return _pixels(_open(data))


def decode_scaled(data: bytes, at_least: Callable[[int, int], int]) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """`decode_rgb`, and the width and height that the file has; a JPEG may come at a half, quarter or eighth of them.

    ``at_least`` is given width and height, and says how many pixels both sides should keep.
    """
    image = _open(data)
    size = image.size
    return _pixels(image, at_least(*size)), size


def _pixels(image: Image.Image, at_least: int | None = None) -> npt.NDArray[np.uint8]:
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        turn = _turn(image)
        if turn is not None:
            image = image.transpose(turn)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)
    except Exception as error:
        truncated = "truncated" in str(error).lower()
        raise ImageError(
            "decode", "truncated" if truncated else "damaged image", f"{type(error).__name__}: {error}"
        ) from None
    return pixels


def netpbm(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Raw pixels (H, W, 3) or (H, W, 1) uint8 as the bytes of a picture file, without loss."""
    height, width, channels = pixels.shape
    kind = 6 if channels == 3 else 5
    return b"P%d %d %d 255\n" % (kind, width, height) + np.ascontiguousarray(pixels).tobytes()


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("decode", "empty file")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("decode", "too many pixels", str(error)) from None
    except UnidentifiedImageError:
        raise ImageError(
            "decode", "not an image", f"begins with {data[:8]!r}; formats read: {', '.join(FORMATS)}"
        ) from None
    except Exception as error:  # decoders raise almost anything on hostile headers
        raise ImageError("decode", "damaged image", f"{type(error).__name__}: {error}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError("decode", "too many pixels", f"{width} x {height}, at most {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise ImageError("decode", "too small", f"{width} x {height}, at least {MIN_SIDE} a side")
    return image


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes a picture upright; damaged EXIF data count as none."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are good, and parsers of hostile EXIF data raise almost anything
        return None
