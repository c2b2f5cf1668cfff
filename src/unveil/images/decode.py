"""From the bytes of an image file to RGB pixels, within limits and without crashing."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, TiffTags, UnidentifiedImageError, _imaging, features

from unveil.errors import ImageError
from unveil.images.archives import ARCHIVE, is_archive
from unveil.images.av1_size import CodedSize, coded_size, is_sequence
from unveil.images.behind import (
    FRAMES,
    MAX_MARKERS,
    MAX_TEXT_HEADER,
    SCAN,
    Behind,
    behind_first,
    not_still,
    number,
    scan_of,
    segments,
)
from unveil.images.colours import asks_for_other_colours
from unveil.images.remarks import Remark
from unveil.images.signatures import AVIF_BRANDS, BMP, GIF, HEIC_BRANDS, JPEG, PNG, RIFF, TIFF
from unveil.images.silence import without_warnings
from unveil.io.memory import MAX_IMAGE_BYTES, image_memory

P = ParamSpec("P")
R = TypeVar("R")

# Only formats that face datasets use: every further decoder is a way in for hostile files.
BASIC_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
IMAGE_SIGNATURES = (JPEG, PNG, *GIF, *TIFF)
# First bytes of image formats that are not read.
OTHER_FORMATS = (
    *((b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000")),
    *((b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"8BPS", "Photoshop"), (b"v/1\1", "OpenEXR")),
    *((b"#?RADIANCE", "Radiance HDR"), (b"\0\0\1\0", "ICO"), (b"P7\n", "PAM"), (b"<svg", "SVG")),
    (b"\x93NUMPY", "an array of NumPy"),
)
MAX_PIXELS = 80_000_000
# Photographs have 300 at the worst quality of AVIF. Images of one colour cost as much time, and have no face.
MAX_PIXELS_PER_BYTE, FEW_PIXELS = 2000, 2**21
# Boxes of an AVIF that Pillow does not apply, with their sizes: a clean aperture, a layer and an operating point.
_AVIF_CHANGES = (
    b"\0\0\0\x28clap",
    b"\0\0\0\x0alsel",
    b"\0\0\0\x09a1op",
    *(b"\0\0\0\1" + k for k in (b"clap", b"lsel", b"a1op")),
)
# Parts of a file that are packed to see how small it would be, and bytes of each.
PACKED_PARTS, PACKED_PART = 16, 4096
MIN_SIDE = 16
# Decoders of netpbm and of BMP that take each value or run by itself, and the values of an image that they decode.
_SLOW_DECODERS, MAX_SLOW_VALUES = {"PPM": ("ppm", "ppm_plain"), "BMP": ("bmp_rle",)}, 12_000_000
# Images of more pixels are converted in strips of so many.
STRIP_PIXELS = 2**21
# A scan of a JPEG costs time for every pixel, however few bytes it has. Files of cameras and editors have up to 15.
MAX_SCANS = 20
_SCAN = b"\xff\xda"
# Pillow joins the EXIF segments of a JPEG one by one, and reads text headers byte by byte.
MAX_SEGMENTS, MAX_COMMENTS = 1000, 1000
# A smaller JPEG has no more of them than Pillow reads in a second.
MANY_SEGMENTS_BYTES = 2**20
_EXIF = b"\xff\xe1"
_COMMENT = re.compile(rb"#[^\r\n]*")
# Samples of a pixel of a TIFF: red, green and blue, or the four colours of print, or one more channel.
MAX_SAMPLES = 4
# Gamma of a PNG that shows the pixels much as they are; the standard is 1/2.2, old ones are 1/1.8 and 1/2.6.
SCREEN_GAMMA = 0.35, 0.6
# Of a TIFF: a tile may be larger than a small image, but not by much.
MAX_TILE_RATIO, SPARE_TILE_PIXELS = 4, 2**22

# Sizes of the headers that follow the first 14 bytes of a BMP.
_BITMAP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})

# An upright image as its file stores it, for each EXIF orientation other than 1; and those that exchange the sides.
_TURNS: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
_ON_ITS_SIDE = (5, 6, 7, 8)
_ORIENTATION, _TIFF_HEADER = 0x0112, 8
_OPAQUE = 255
# Modes of Pillow with 8 bits a channel, which convert to RGB without loss of range.
_EIGHT_BITS = frozenset({"RGB", "RGBA", "RGBX", "L", "LA", "P", "1"})
# Bytes of a pixel in Pillow's memory for modes of one channel; four in all others.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}
# Bytes of a pixel that decoders of these formats hold beside Pillow's, as measured.
_DECODER_BYTES = {"WEBP": 13, "AVIF": 8, "HEIF": 8}
# Kinds of JPEG frames that are coded without loss, and in several scans (ITU-T T.81, table B.1).
LOSSLESS, PROGRESSIVE = (3, 7, 11, 15), (2, 6, 10, 14)
# TIFF 6.0: bits of a sample, which value is white, and whether samples are unsigned (1), signed (2) or floats (3).
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SAMPLES, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 277, 278, 322, 323
_EXTRA_SAMPLES, _UNSPECIFIED = 338, 0
_WHITE_IS_ZERO, _YCBCR, _UNSIGNED = 0, 6, 1


# Pillow's blocks of 16 MiB would stay with the allocator of a thread. Those of more than 32 MiB return to the system.
_imaging.set_block_size(2**26)


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


def _decoding(function: Callable[P, R]) -> Callable[P, R]:
    """The same function without the warnings of decoders; its ImageError holds no frame, and so no pixels, alive."""

    @functools.wraps(function)
    def quiet(*args: P.args, **options: P.kwargs) -> R:
        try:
            with without_warnings():
                return function(*args, **options)
        except ImageError as error:
            found = error.copy()
        raise found

    return quiet


@_decoding
def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, by the header alone; ImageError as for `decode_rgb`."""
    return _open(data)[0].size


@_decoding
def decode_rgb(data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB, upright by the EXIF orientation; ImageError for anything else.

    Transparency is dropped, and values of more than 8 bits are scaled to 8. A file of several images is an error.
    """
    return _pixels(_open(data)[0], data)


@_decoding
def decode_scaled(
    data: bytes, at_least: Callable[[int, int], int]
) -> tuple[npt.NDArray[np.uint8], tuple[int, int], tuple[Remark, ...]]:
    """`decode_rgb`, the width and height of the file, and what others might see in it that the pixels do not show.

    A JPEG may be decoded at a half, quarter or eighth of its size.

    ``at_least`` receives width and height and returns how many pixels each side must have.
    """
    image, behind = _open(data)
    size, turned = image.size, _is_turned(image)
    pixels = _pixels(image, data, at_least(*size))
    return pixels, size, _remarks(image, data, behind, turned=turned)


@_decoding
def pillow_rgb(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Pixels (H, W, 3) uint8 RGB of an image of Pillow, as `decode_rgb` makes them.

    None for an image with more than 8 bits a channel. Raises ImageError where its file is damaged.
    """
    if image.mode not in _EIGHT_BITS:
        return None
    try:
        return _upright(image, _orientation(image), _rgb)
    except Exception as error:  # a file that is opened lazily is decoded here
        raise _damaged(error) from None


def pixel_digest(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The SHA-256 of an image's size and pixels (H, W, 3) uint8 RGB."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height} {width}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _pixels(image: Image.Image, data: bytes, at_least: int | None = None) -> npt.NDArray[np.uint8]:
    size = image.size
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        coded = _coded(image, data)
        with image_memory(max(_bytes_needed(image, size, data, coded), _bytes_of_streams(image, coded))):
            orientation = _orientation(image)  # before EXIF data behind the pixels are read, which viewers ignore
            image.load()
            more_bits = image.mode in ("I", "F") or image.mode.startswith("I;16")
            return _upright(image, orientation, _eight_bits(image) if more_bits else _rgb)
    except ImageError:
        raise
    except Exception as error:  # decoders raise almost anything on hostile data
        raise _kind_not_read(data) or _damaged(error) from None


def _upright(
    image: Image.Image, orientation: int, convert: Callable[[Image.Image], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) of a decoded image. ``convert`` makes (h, W, 3) or (h, W, 1) of h rows, as it is stored.

    Row by row into the place where they belong: Pillow would copy a large image for each step.
    """
    width, height = image.size
    upright = np.empty((width, height, 3) if orientation in _ON_ITS_SIDE else (height, width, 3), np.uint8)
    stored = _TURNS[orientation](upright) if orientation in _TURNS else upright
    for top, strip in _strips(image):
        stored[top : top + strip.height] = convert(strip)
    return upright


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A decoded image in parts of some rows, each with the number of its first row."""
    rows = max(1, STRIP_PIXELS // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)


def _coded(image: Image.Image, data: bytes) -> CodedSize | None:
    """The size of the streams of an AVIF; None for another format, and where it is not found."""
    return coded_size(data) if image.format == "AVIF" else None


def _bytes_needed(image: Image.Image, size: tuple[int, int], data: bytes, coded: CodedSize | None) -> int:
    """The memory that decoding an image takes; ``size`` is that in its file, which a draft reduces."""
    pixels = image.width * image.height
    decoder = _DECODER_BYTES.get(image.format or "", 0) * pixels
    if coded is not None:
        # Its stream may be larger than the size that the file states.
        decoder = _DECODER_BYTES["AVIF"] * max(pixels, coded.largest)
    elif image.format in ("JPEG", "MPO"):
        frame = _jpeg_frame(data)
        # Of several scans, all coefficients are held, two bytes each; at worst those of four channels.
        decoder = round((8 if frame is None else frame.coefficient_bytes) * size[0] * size[1])
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        rows = min(image.height, max(1, _first(tags.get(_ROWS_PER_STRIP), image.height)))
        at_once = rows * image.width
        if _TILE_WIDTH in tags:
            # A tile may be larger than the image.
            at_once = _first(tags.get(_TILE_WIDTH), 0) * _first(tags.get(_TILE_HEIGHT), 0)
        # YCbCr is decoded to four bytes a pixel first.
        sample = max(8, _first(tags.get(_BITS), 8)) * max(1, _first(tags.get(_SAMPLES), 1)) // 8
        decoder = at_once * (sample + (4 if tags.get(_PHOTOMETRIC) == _YCBCR else 0))
    return _STORED.get(image.mode, 4) * pixels + max(decoder, 3 * pixels)


def _bytes_of_streams(image: Image.Image, coded: CodedSize | None) -> int:
    """The memory that all streams of an AVIF may take: the whole budget of an image where their size is not known."""
    if image.format != "AVIF":
        return 0
    return MAX_IMAGE_BYTES if coded is None else min(MAX_IMAGE_BYTES, _DECODER_BYTES["AVIF"] * coded.total)


def _damaged(error: Exception) -> ImageError:
    """The reject for what a decoder raised."""
    reason = "truncated" if "truncated" in str(error).lower() else "damaged image"
    return ImageError("decode", reason, f"{type(error).__name__}: {error}")


def _eight_bits(image: Image.Image) -> Callable[[Image.Image], npt.NDArray[np.uint8]]:
    """How strips of a grey image with more than 8 bits become (h, W, 1) uint8; ImageError for an unknown range.

    Unsigned integers span the range of their bits. Signed integers and floats have no such range: values that fit into
    8 or 16 bits, or into 0 to 1 for floats, are taken for that.
    """
    tags: Any = getattr(image, "tag_v2", {})
    scaled: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    if image.mode != "F" and _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED) == _UNSIGNED:
        # Pillow stores 32 unsigned bits as signed ones.
        unsigned = np.uint32 if image.mode == "I" else np.uint16
        shift = min(24, max(0, _first(tags.get(_BITS), 16) - 8))
        scaled = lambda values: np.right_shift(values.astype(unsigned), shift)  # noqa: E731
    else:
        scaled = _within_range(image)
    white_is_zero = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO

    def convert(strip: Image.Image) -> npt.NDArray[np.uint8]:
        grey = scaled(np.asarray(strip)).astype(np.uint8)[..., None]
        return 255 - grey if white_is_zero else grey

    return convert


def _within_range(image: Image.Image) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """How values of signed integers or floats become 0 to 255; ImageError when those of an image fit no known range."""
    ranges = [(values.min(), values.max()) for _, strip in _strips(image) for values in (np.asarray(strip),)]
    lowest, highest = float(np.min(ranges)), float(np.max(ranges))
    floats = image.mode == "F"
    top = next((top for top in (1.0, 255.0, 65535.0) if highest <= top and (floats or top > 1)), None)
    if top is None or not lowest >= 0:
        raise ImageError(
            "decode",
            "unknown pixel range",
            f"values from {lowest:g} to {highest:g} without a stated range; save the image with 8 bits a channel",
        )
    if floats:
        return lambda values: np.rint(values * np.float32(255 / top))
    return lambda values: values if top == 255 else np.right_shift(values, 8)


def _first(value: Any, default: int) -> int:
    """A TIFF tag, or the first value of one that holds several."""
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default


def netpbm(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Raw pixels (H, W, 3) or (H, W, 1) uint8 as the bytes of an image file, without loss."""
    height, width, channels = pixels.shape
    kind = 6 if channels == 3 else 5
    return b"".join((b"P%d %d %d 255\n" % (kind, width, height), np.ascontiguousarray(pixels).data))


def _open(data: bytes) -> tuple[Image.Image, Behind]:
    """The image, not yet decoded, and what lies behind it; ImageError for one that is not read."""
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
    coded = _coded(image, data)
    decoded = max(width * height, coded.largest if coded is not None else 0)
    if decoded > FEW_PIXELS and decoded > MAX_PIXELS_PER_BYTE * (n_bytes := _packed_bytes(data)):
        raise ImageError(
            "decode",
            "too many pixels",
            f"{width} x {height} in {n_bytes:.0f} packed bytes, at most {MAX_PIXELS_PER_BYTE} a byte; no photograph is "
            "so small",
        )
    # A copy could hide behind the first frame. What telephones add to a photograph is smaller than it.
    several, behind = image.format != "MPO" and getattr(image, "is_animated", False), behind_first(data)
    if several or any(pixels >= width * height for pixels in behind.pixels):
        raise ImageError("decode", "several images in a file", "save each as a file of its own")
    scans = data.count(_SCAN) if image.format in ("JPEG", "MPO") else 1
    if scans > MAX_SCANS and scans * width * height > MAX_SCANS * MAX_PIXELS:
        raise ImageError("decode", "too many scans", f"{scans} scans of {width} x {height} pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        samples = _first(image.tag_v2.get(_SAMPLES), 1)
        if samples > MAX_SAMPLES:
            raise ImageError(
                "decode", "format not read", f"a TIFF of {samples} samples a pixel; save each image as a PNG"
            )
        tile = _first(image.tag_v2.get(_TILE_WIDTH), 0) * _first(image.tag_v2.get(_TILE_HEIGHT), 0)
        if tile > MAX_TILE_RATIO * width * height + SPARE_TILE_PIXELS:
            raise ImageError("decode", "damaged image", f"a tile of {tile} pixels in an image of {width} x {height}")
    if image.format == "AVIF" and is_sequence(data):
        raise ImageError("decode", "format not read", "AVIF with tracks of a video; save each image as a PNG")
    # Pillow decodes these value by value in Python: 0.7 s for a million.
    slow_decoders = _SLOW_DECODERS.get(image.format or "", ())
    slow = any(tile[0] in slow_decoders for tile in getattr(image, "tile", ()))
    # A run of BMP has two bytes, and may stand for no pixel.
    n_runs = len(data) // 2 if image.format == "BMP" else 0
    if slow and max(width * height * len(image.getbands()), n_runs) > MAX_SLOW_VALUES:
        raise ImageError(
            "decode",
            "too many pixels",
            f"{width} x {height} in a netpbm as text, or with another largest value than 255 and 65535, or in a BMP "
            "with run lengths; save it as PNG",
        )
    needed = _bytes_needed(image, image.size, data, coded)
    if needed > MAX_IMAGE_BYTES and coded is not None and decoded > width * height:
        raise ImageError(
            "decode",
            "too many pixels",
            f"{width} x {height} by its header, but {decoded} pixels by its AV1 stream; save it as PNG",
        )
    if needed > MAX_IMAGE_BYTES:
        raise ImageError(
            "decode",
            "too many pixels",
            f"{width} x {height} in {image.format} take {needed // 2**20} MiB to decode, at most "
            f"{MAX_IMAGE_BYTES // 2**20} are used; reduce the image, or save it as PNG",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError("decode", "too small", f"{width} x {height}, at least {MIN_SIDE} a side")
    return image, behind


def _packed_bytes(data: bytes) -> float:
    """About how many bytes a file takes in a zip, by a sample of its parts: filling bytes are none."""
    step = max(1, len(data) // PACKED_PARTS)
    sample = b"".join(data[at : at + PACKED_PART] for at in range(0, len(data), step))
    return len(data) * min(1.0, len(zlib.compress(sample, 1)) / len(sample))


def _check_header(data: bytes) -> None:
    """Raises ImageError for a header whose length would cost far more time than its bytes."""
    if data.startswith(b"\xff\xd8") and (n := data.count(_EXIF)) > MAX_SEGMENTS:
        raise ImageError("decode", "damaged image", f"{n} segments of EXIF data, at most {MAX_SEGMENTS} are read")
    if data[4:8] == b"ftyp" and data[8:12] in AVIF_BRANDS and any(box in data for box in _AVIF_CHANGES):
        raise ImageError("decode", "format not read", "AVIF of which viewers show a part or a layer; save it as PNG")
    if data.startswith(PNG) and (why := not_still(data)):
        raise ImageError("decode", "several images in a file", f"{why}; save each as a PNG of its own")
    if data.startswith(JPEG) and len(data) > MANY_SEGMENTS_BYTES and scan_of(data) is None:
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
    if brand in (*AVIF_BRANDS, *HEIC_BRANDS) or data.startswith((JPEG, PNG[:4], RIFF, b"GIF8", *TIFF)):
        return ImageError("decode", "damaged image", "its header cannot be read; get the file again")
    if is_archive(data[:512]):
        return ImageError("decode", ARCHIVE, "give it as a set of its own, or unpack it")
    return ImageError("decode", "not an image", f"begins with {data[:8]!r}; formats read: {', '.join(formats)}")


def _kind_not_read(data: bytes) -> ImageError | None:
    """The reject for a kind of JPEG or TIFF that Pillow does not decode; None for other images."""
    kind = _jpeg_or_tiff_kind(data)
    advice = "convert the images to PNG with 8 bits a channel"
    return None if kind is None else ImageError("decode", "format not read", f"{kind}; {advice}")


def _jpeg_or_tiff_kind(data: bytes) -> str | None:
    if data.startswith(JPEG):
        frame = _jpeg_frame(data)
        if frame is not None and frame.bits != 8:
            return f"JPEG of {frame.bits} bits"
        return "lossless JPEG" if frame is not None and frame.kind in LOSSLESS else None
    if data.startswith(TIFF):
        try:
            TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        except SyntaxError as error:
            return f"TIFF with an {error}" if str(error).startswith("unknown") else None
        except Exception:  # as above
            return None
    return None


class _JpegFrame(NamedTuple):
    """The kind of the frame of a JPEG, the bits of its samples, and bytes of coefficients that are held for a pixel."""

    kind: int
    bits: int
    coefficient_bytes: float


def _jpeg_frame(data: bytes) -> _JpegFrame | None:
    """The first frame of a JPEG; None where none begins."""
    frame, n_in_scan = None, 0
    for marker, at in segments(data):
        if frame is None and marker in FRAMES:
            frame = marker & 0x0F, data[at + 4 : at + 2 + number(data, at + 2, 2)]
        elif marker == SCAN:
            n_in_scan = number(data, at + 4, 1)
    return None if frame is None else _described_frame(*frame, n_in_scan)


def _described_frame(kind: int, segment: bytes, n_in_scan: int) -> _JpegFrame | None:
    """The frame in a segment, whose first scan has so many of its channels."""
    if len(segment) < 6:
        return None
    factors = [(byte >> 4, byte & 15) for byte in segment[7 : 6 + 3 * segment[5] : 3]]
    largest = max((h for h, _ in factors), default=0) * max((v for _, v in factors), default=0)
    several = kind in PROGRESSIVE or n_in_scan < segment[5]
    samples = sum(h * v for h, v in factors) / largest if largest else 4.0
    return _JpegFrame(kind, segment[0], 2 * samples if several else 0.0)


def _remarks(image: Image.Image, data: bytes, behind: Behind, *, turned: bool) -> tuple[Remark, ...]:
    """What others might see in the file of a decoded image that its pixels do not show."""
    found = {
        Remark.IMAGES_BEHIND: bool(behind.pixels),
        Remark.BYTES_BEHIND: behind.more and not behind.pixels,
        Remark.TURNED: turned,
        Remark.NOT_TURNED: not turned and _asks_to_be_turned(image),
        Remark.TRANSPARENT: is_transparent(image),
        Remark.EXTRA_CHANNEL: isinstance(image, TiffImagePlugin.TiffImageFile)
        and _UNSPECIFIED in (image.tag_v2.get(_EXTRA_SAMPLES) or ()),
        Remark.GAMMA: _asks_for_brightness(image),
        Remark.COLOURS: asks_for_other_colours(image, data),
    }
    return tuple(remark for remark, holds in found.items() if holds)


def _is_turned(image: Image.Image) -> bool:
    """Whether an image that is not yet decoded asks to be turned; Pillow forgets it in a TIFF that it decodes."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _first(image.tag_v2.get(_ORIENTATION), 1) in _TURNS
    return _orientation(image) in _TURNS


def _asks_for_brightness(image: Image.Image) -> bool:
    """Whether a PNG states another gamma than that of screens. Viewers apply it if nothing else describes colours."""
    gamma = image.info.get("gamma")
    described = "srgb" in image.info or "icc_profile" in image.info
    return isinstance(gamma, (int, float)) and not described and not SCREEN_GAMMA[0] <= gamma <= SCREEN_GAMMA[1]


def is_transparent(image: Image.Image) -> bool:
    """Whether a decoded image has pixels that are not opaque."""
    if image.mode in ("RGBA", "LA", "PA"):
        lowest = image.getchannel("A").getextrema()[0]
        return isinstance(lowest, (int, float)) and lowest < _OPAQUE
    transparent = image.info.get("transparency")
    if isinstance(transparent, bytes):  # of each colour of a palette
        return any(n for n, alpha in zip(image.histogram(), transparent, strict=False) if alpha < _OPAQUE)
    if isinstance(transparent, (int, tuple)):  # one colour
        colours = image.getcolors(2**16) or ()
        return not colours or any(colour == transparent for _, colour in colours)
    return False


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; damaged EXIF data count as 1.

    Pillow also takes it from XMP, from text and from numbers of other types, as viewers do not.
    """
    try:
        data = io.BytesIO(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
        tags = TiffImagePlugin.ImageFileDirectory_v2(data.read(_TIFF_HEADER))
        data.seek(tags.next)
        tags.load(data)
        orientation = tags.get(_ORIENTATION) if tags.tagtype.get(_ORIENTATION) == TiffTags.SHORT else 1
        return orientation if orientation in _TURNS else 1
    except Exception:  # the pixels are good, and parsers of hostile EXIF data raise almost anything
        return 1


def _asks_to_be_turned(image: Image.Image) -> bool:
    """Whether a decoded image has an orientation anywhere, also where viewers ignore it."""
    try:
        return image.getexif().get(_ORIENTATION, 1) in _TURNS
    except Exception:  # as above
        return False


def is_image(head: bytes) -> bool:
    """Whether a file begins like an image. Two letters alone do not decide: a list may begin with `BMW`."""
    webp = head[:4] == RIFF and head[8:12] == b"WEBP"
    bitmap = head[:2] == BMP and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS
    numbers = head[:2] in (b"P4", b"P5", b"P6") and head[3:4].isdigit()
    comment = head[:1] == b"P" and head[1:2] in b"123456" and head[3:4] == b"#"
    netpbm = head[2:3].isspace() and (numbers or comment)
    iso = head[4:8] == b"ftyp" and head[8:12] in (*AVIF_BRANDS, *HEIC_BRANDS)
    return head.startswith(IMAGE_SIGNATURES) or webp or bitmap or netpbm or iso
