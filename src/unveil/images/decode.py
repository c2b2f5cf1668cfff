"""From the bytes of an image file to RGB pixels, within limits and without crashing."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, features

from unveil.errors import ImageError

# Only formats that face datasets use: every further decoder is a way in for hostile files.
BASIC_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
# Brands of the ISO container of AVIF and HEIC, in bytes 8 to 12.
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", *TIFF)
# First bytes of image formats that are not read.
OTHER_FORMATS = (
    *((b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000")),
    *((b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"8BPS", "Photoshop"), (b"v/1\1", "OpenEXR")),
    *((b"#?RADIANCE", "Radiance HDR"), (b"\0\0\1\0", "ICO"), (b"P7\n", "PAM"), (b"<svg", "SVG")),
    (b"\x93NUMPY", "an array of NumPy"),
)
MAX_PIXELS = 80_000_000
MIN_SIDE = 16
# A scan of a JPEG costs time for every pixel, however few bytes it has. Files of cameras and editors have up to 15.
MAX_SCANS = 20
_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
# First bytes of the images that are looked for behind the end of another one.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Images behind the first one of a JPEG. Telephones add a depth map, a map of brightness or a second view.
MAX_FURTHER = 16
# Pillow joins the EXIF segments of a JPEG one by one, and reads text headers byte by byte.
MAX_SEGMENTS, MAX_COMMENTS, MAX_TEXT_HEADER = 1000, 1000, 2**16
# Segments and filling bytes before the scans of a JPEG; profiles and metadata of 64 MiB have a thousand segments.
MAX_MARKERS, _TOO_MANY = 10_000, -1
# A smaller JPEG has no more of them than Pillow reads in a second.
MANY_SEGMENTS_BYTES = 2**20
_EXIF = b"\xff\xe1"
_COMMENT = re.compile(rb"#[^\r\n]*")
# Of a TIFF: a tile may be larger than a small image, but not by much.
MAX_TILE_RATIO, SPARE_TILE_PIXELS = 4, 2**22

# Sizes of the headers that follow the first 14 bytes of a BMP.
_BITMAP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})

# The transposition that undoes each EXIF orientation other than 1.
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
# Modes of Pillow with 8 bits a channel, which convert to RGB without loss of range.
_EIGHT_BITS = frozenset({"RGB", "RGBA", "RGBX", "L", "LA", "P", "1"})
# Kinds of JPEG frames that are coded without loss (ITU-T T.81, table B.1).
LOSSLESS = (3, 7, 11, 15)
# Markers of all kinds of frames.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# TIFF 6.0: bits of a sample, which value is white, and whether samples are unsigned (1), signed (2) or floats (3).
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def _formats() -> tuple[str, ...]:
    """The formats that this installation reads: AVIF needs a Pillow with it, HEIC the extra ``heif``."""
    formats: tuple[str, ...] = BASIC_FORMATS
    if features.check("avif"):
        formats += ("AVIF",)
    try:
        import pillow_heif
    except ImportError:
        return formats
    pillow_heif.register_heif_opener(thumbnails=False)
    return (*formats, "HEIF")


FORMATS = _formats()


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, by the header alone; ImageError as for `decode_rgb`."""
    return _open(data).size


def decode_rgb(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB, upright by the EXIF orientation; ImageError for anything else.

    Transparency is dropped, and values of more than 8 bits are scaled to 8. A file of several images is an error.
    """
    return _pixels(_open(data), data)


def decode_scaled(
    data: bytes, at_least: Callable[[int, int], int]
) -> tuple[npt.NDArray[np.uint8], tuple[int, int], bool]:
    """`decode_rgb`, the width and height of the file, and whether smaller images follow, which are not read.

    A JPEG may be decoded at a half, quarter or eighth of its size.

    ``at_least`` receives width and height and returns how many pixels each side must have.
    """
    image = _open(data)
    size = image.size
    return _pixels(image, data, at_least(*size)), size, holds_more(data)


def pillow_rgb(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Pixels (H, W, 3) uint8 RGB of an image of Pillow, as `decode_rgb` makes them.

    None for an image with more than 8 bits a channel. Raises ImageError where its file is damaged.
    """
    if image.mode not in _EIGHT_BITS:
        return None
    try:
        return _rgb(image, _turn(image))
    except Exception as error:  # a file that is opened lazily is decoded here
        raise _damaged(error) from None


def pixel_digest(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The SHA-256 of an image's size and pixels (H, W, 3) uint8 RGB."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height} {width}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _pixels(image: Image.Image, data: bytes, at_least: int | None = None) -> npt.NDArray[np.uint8]:
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        turn = _turn(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            image = Image.fromarray(_eight_bits(image))
        return _rgb(image, turn)
    except ImageError:
        raise
    except Exception as error:  # decoders raise almost anything on hostile data
        raise _kind_not_read(data) or _damaged(error) from None


def _rgb(image: Image.Image, turn: Image.Transpose | None) -> npt.NDArray[np.uint8]:
    upright = image if turn is None else image.transpose(turn)
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"), np.uint8)


def _damaged(error: Exception) -> ImageError:
    """The reject for what a decoder raised."""
    reason = "truncated" if "truncated" in str(error).lower() else "damaged image"
    return ImageError("decode", reason, f"{type(error).__name__}: {error}")


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels (H, W) uint8 of a grey image with more than 8 bits; ImageError when the range of values is unknown.

    Unsigned integers span the range of their bits. Signed integers and floats have no such range: values that fit into
    8 or 16 bits, or into 0 to 1 for floats, are taken for that.
    """
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    grey: npt.NDArray[Any]
    if image.mode != "F" and _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED) == _UNSIGNED:
        # Pillow stores 32 unsigned bits as signed ones.
        unsigned = values.view(np.uint32) if image.mode == "I" else values.astype(np.uint16)
        grey = unsigned >> min(24, max(0, _first(tags.get(_BITS), 16) - 8))
    else:
        grey = _within_range(values)
    grey = grey.astype(np.uint8)
    return 255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


def _within_range(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values (H, W) of signed integers or floats on a scale of 0 to 255; ImageError when they fit no known range."""
    lowest, highest = float(values.min()), float(values.max())
    floats = values.dtype.kind == "f"
    top = next((top for top in (1.0, 255.0, 65535.0) if highest <= top and (floats or top > 1)), None)
    if top is None or not lowest >= 0:
        raise ImageError(
            "decode",
            "unknown pixel range",
            f"values from {lowest:g} to {highest:g} without a stated range; save the image with 8 bits a channel",
        )
    if floats:
        return np.rint(values * np.float32(255 / top))
    return values if top == 255 else values >> 8


def _first(value: Any, default: int) -> int:
    """A TIFF tag, or the first value of one that holds several."""
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default


def netpbm(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Raw pixels (H, W, 3) or (H, W, 1) uint8 as the bytes of an image file, without loss."""
    height, width, channels = pixels.shape
    kind = 6 if channels == 3 else 5
    return b"P%d %d %d 255\n" % (kind, width, height) + np.ascontiguousarray(pixels).tobytes()


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("decode", "empty file")
    _check_header(data)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("decode", "too many pixels", str(error)) from None
    except UnidentifiedImageError:
        raise unidentified(data, FORMATS) from None
    except Exception as error:  # as above
        raise _damaged(error) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError("decode", "too many pixels", f"{width} x {height}, at most {MAX_PIXELS} in all")
    # A copy could hide behind the first frame. What telephones add to a photograph is smaller than it.
    several = image.format != "MPO" and getattr(image, "is_animated", False)
    if several or any(w * h >= width * height for w, h in _sizes_behind(data)):
        raise ImageError("decode", "several images in a file", "save each as a file of its own")
    scans = data.count(_SCAN) if image.format in ("JPEG", "MPO") else 1
    if scans > MAX_SCANS and scans * width * height > MAX_SCANS * MAX_PIXELS:
        raise ImageError("decode", "too many scans", f"{scans} scans of {width} x {height} pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = _first(image.tag_v2.get(_TILE_WIDTH), 0) * _first(image.tag_v2.get(_TILE_HEIGHT), 0)
        if tile > MAX_TILE_RATIO * width * height + SPARE_TILE_PIXELS:
            raise ImageError("decode", "damaged image", f"a tile of {tile} pixels in an image of {width} x {height}")
    if min(width, height) < MIN_SIDE:
        raise ImageError("decode", "too small", f"{width} x {height}, at least {MIN_SIDE} a side")
    return image


def _check_header(data: bytes) -> None:
    """Raises ImageError for a header whose length would cost far more time than its bytes."""
    if data.startswith(b"\xff\xd8") and (n := data.count(_EXIF)) > MAX_SEGMENTS:
        raise ImageError("decode", "damaged image", f"{n} segments of EXIF data, at most {MAX_SEGMENTS} are read")
    if data.startswith(_JPEG) and len(data) > MANY_SEGMENTS_BYTES and _scan_of(data) is None:
        raise ImageError("decode", "damaged image", f"no scan within {MAX_MARKERS} segments")
    kind = data[1:2]
    if not data.startswith(b"P") or not kind.isdigit():
        return
    # The kind, two sides, and the largest value, which bitmaps do not have.
    n_words = 3 if kind in b"14" else 4
    if len(_COMMENT.sub(b"", data[:MAX_TEXT_HEADER]).split(None, n_words)) < n_words:
        raise ImageError("decode", "damaged image", f"no header within {MAX_TEXT_HEADER} bytes")
    if kind in b"123" and data.count(b"#") > MAX_COMMENTS:
        raise ImageError("decode", "damaged image", f"more than {MAX_COMMENTS} comments")


def unidentified(data: bytes, formats: Sequence[str]) -> ImageError:
    """The true reason why no decoder of these formats takes an image file."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in AVIF_BRANDS and "AVIF" not in formats:
        return ImageError("decode", "format not read", "AVIF; pip install 'pillow>=11.3'")
    if brand in HEIC_BRANDS and "HEIF" not in formats:
        return ImageError("decode", "format not read", "HEIC; pip install 'unveil[heif]'")
    other = next((name for signature, name in OTHER_FORMATS if data.startswith(signature)), None)
    if other is not None:
        return ImageError("decode", "format not read", f"{other}; convert the images to PNG")
    if data.startswith(b"version https://git-lfs"):
        return ImageError("decode", "not an image", "a pointer of Git LFS; fetch the images with `git lfs pull`")
    kind = _kind_not_read(data)
    if kind is not None:
        return kind
    if brand in (*AVIF_BRANDS, *HEIC_BRANDS) or data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", *TIFF)):
        return ImageError("decode", "damaged image", "its header cannot be read; get the file again")
    return ImageError("decode", "not an image", f"begins with {data[:8]!r}; formats read: {', '.join(formats)}")


def _kind_not_read(data: bytes) -> ImageError | None:
    """The reject for a kind of JPEG or TIFF that Pillow does not decode; None for other images."""
    kind = _jpeg_or_tiff_kind(data)
    advice = "convert the images to PNG with 8 bits a channel"
    return None if kind is None else ImageError("decode", "format not read", f"{kind}; {advice}")


def _jpeg_or_tiff_kind(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        frame = _jpeg_frame(data)
        if frame is not None and frame[1] != 8:
            return f"JPEG of {frame[1]} bits"
        return "lossless JPEG" if frame is not None and frame[0] in LOSSLESS else None
    if data.startswith(TIFF):
        try:
            TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        except SyntaxError as error:
            return f"TIFF with an {error}" if str(error).startswith("unknown") else None
        except Exception:  # as above
            return None
    return None


def _jpeg_frame(data: bytes) -> tuple[int, int] | None:
    """The kind of the frame of a JPEG, and the bits of its samples; None where no frame begins."""
    at = next((at for marker, at in _segments(data) if marker in _FRAMES), None)
    return None if at is None else (data[at + 1] & 0x0F, data[at + 4])


def _scan_of(data: bytes) -> int | None:
    """Where the first scan of a JPEG begins; None where it has none or too much before it."""
    return next((at for marker, at in _segments(data) if marker == _SCAN[1]), None)


def _segments(data: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """The marker and the first byte of each segment before the scans of the JPEG that begins at ``start``.

    The last marker is `_TOO_MANY` where there are more than `MAX_MARKERS`.
    """
    at, n = start + 2, 0
    while data[at : at + 1] == b"\xff" and at + 5 <= len(data):
        n += 1
        if n > MAX_MARKERS:
            yield _TOO_MANY, at
            return
        if data[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        yield data[at + 1], at
        if data[at + 1] == _SCAN[1]:
            return
        at += 2 + _number(data, at + 2, 2)


def holds_more(data: bytes) -> bool:
    """Whether images follow the first one of a file, which alone is read."""
    return bool(_sizes_behind(data))


def _sizes_behind(data: bytes) -> list[tuple[int, int]]:
    """Width and height of each image behind the end of the first one in a JPEG, PNG or WebP file.

    Images inside of it, such as the thumbnails of cameras, do not count.
    """
    if data.find(_JPEG, 1) < 0 and data.find(_PNG, 1) < 0:
        return []
    at, sizes = _end_of_first(data), list[tuple[int, int]]()
    for _ in range(MAX_FURTHER):
        starts = [start for start in (data.find(_JPEG, at), data.find(_PNG, at)) if start >= 0]
        if not starts:
            return sizes
        at = min(starts)
        if data.startswith(_PNG, at):
            sizes.append((_number(data, at + 16, 4), _number(data, at + 20, 4)))
        else:
            marker, frame = next(((m, k) for m, k in _segments(data, at) if m in _FRAMES or m == _TOO_MANY), (0, 0))
            if marker == _TOO_MANY:
                break
            if marker in _FRAMES:
                sizes.append((_number(data, frame + 7, 2), _number(data, frame + 5, 2)))
        at += 1
    return [(MAX_PIXELS, MAX_PIXELS)]  # too many to be looked at


def _number(data: bytes, at: int, n: int) -> int:
    return int.from_bytes(data[at : at + n], "big")


def _end_of_first(data: bytes) -> int:
    """The byte after the first image of a file; the end of the file where that is unknown."""
    if data.startswith(_JPEG):
        # Where no scan is found, the end of a thumbnail may be taken for that of the image.
        end = data.find(_JPEG_END, _scan_of(data) or 0)
        return end + len(_JPEG_END) if end >= 0 else len(data)
    if data.startswith(_PNG):
        at = len(_PNG)
        while at < len(data) and data[at + 4 : at + 8] != b"IEND":
            at += 12 + _number(data, at, 4)
        return at + 12
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little")
    return len(data)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes an image upright; damaged EXIF data count as none."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are good, and parsers of hostile EXIF data raise almost anything
        return None


def is_image(head: bytes) -> bool:
    """Whether a file begins like an image. Two letters alone do not decide: a list may begin with `BMW`."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    bitmap = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS
    numbers = head[:2] in (b"P4", b"P5", b"P6") and head[3:4].isdigit()
    comment = head[:1] == b"P" and head[1:2] in b"123456" and head[3:4] == b"#"
    netpbm = head[2:3].isspace() and (numbers or comment)
    iso = head[4:8] == b"ftyp" and head[8:12] in (*AVIF_BRANDS, *HEIC_BRANDS)
    return head.startswith(IMAGE_SIGNATURES) or webp or bitmap or netpbm or iso
