"""Pictures from strangers: upright pixels or a counted reason."""

from __future__ import annotations

import importlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.builders import drawn_faces, encoded, examples, write
from unveil.errors import ImageError
from unveil.images import decode, decode_rgb, image_size, open_source
from unveil.images.decode import BASIC_FORMATS, FORMATS, OTHER_FORMATS, is_image, unidentified

FACE = drawn_faces(1)[0][:80, :64]


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP", "JPEG"])
def test_formats(form: str) -> None:
    options: dict[str, object] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(form, {})  # type: ignore[assignment]
    data = encoded(FACE, form, **options)
    pixels = decode_rgb(data)
    assert pixels.shape == (80, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - FACE).mean() < (12 if form == "GIF" else 4)
    assert image_size(data) == (64, 80)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_avif(tmp_path: Path) -> None:
    data = encoded(FACE, "AVIF", quality=95)
    assert np.abs(decode_rgb(data).astype(int) - FACE).mean() < 4 and image_size(data) == (64, 80)
    write(tmp_path / "p/a.avif", data)
    assert open_source(tmp_path).kind == "folder"


def test_heic() -> None:
    import pillow_heif

    image = pillow_heif.from_pillow(Image.fromarray(FACE))
    buffer = io.BytesIO()
    image.save(buffer, quality=95)
    assert np.abs(decode_rgb(buffer.getvalue()).astype(int) - FACE).mean() < 4


AVIF, HEIC = b"\0\0\0\x20ftypavif" + b"\0" * 40, b"\0\0\0\x20ftypheic" + b"\0" * 40


@pytest.mark.parametrize(
    ("formats", "data", "reason", "detail"),
    [
        (BASIC_FORMATS, AVIF, "format not read", "pillow>=11.3"),
        (BASIC_FORMATS, HEIC, "format not read", "heif"),
        ((*BASIC_FORMATS, "AVIF", "HEIF"), AVIF, "damaged image", "header"),
        ((*BASIC_FORMATS, "AVIF", "HEIF"), HEIC, "damaged image", "header"),
        (BASIC_FORMATS, b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40, "format not read", "JPEG 2000"),
        (BASIC_FORMATS, b"\xff\x4f\xff\x51" + b"\0" * 40, "format not read", "JPEG 2000"),
        (BASIC_FORMATS, b"\0\0\0\x0cJXL " + b"\0" * 40, "format not read", "JPEG XL"),
        *((BASIC_FORMATS, head + b"\0" * 40, "format not read", "to PNG") for head, _ in OTHER_FORMATS),
        (BASIC_FORMATS, b"version https://git-lfs.github.com/spec/v1\n", "not an image", "git lfs pull"),
        (BASIC_FORMATS, b"<!DOCTYPE html>", "not an image", "begins with"),
        (BASIC_FORMATS, b"II*\0" + b"\0" * 40, "damaged image", ""),
        (BASIC_FORMATS, b"\xff\xd8\xff" + b"\0" * 40, "damaged image", ""),
        (BASIC_FORMATS, b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged image", ""),
        (BASIC_FORMATS, b"RIFF\0\0\0\0WEBP" + b"\0" * 40, "damaged image", ""),
    ],
)
def test_the_reason_of_a_reject_is_true(formats: tuple[str, ...], data: bytes, reason: str, detail: str) -> None:
    error = unidentified(data, formats)
    assert (error.stage, error.reason) == ("decode", reason) and detail in error.detail
    with pytest.raises(ImageError):
        decode_rgb(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(FACE).save(buffer, "PNG", exif=exif)
    from PIL import ImageOps

    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))))
    assert np.array_equal(decode_rgb(buffer.getvalue()), upright)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    grey = Image.fromarray(FACE).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) << 8)
    else:
        image = Image.fromarray(FACE).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    pixels = decode_rgb(buffer.getvalue())
    assert pixels.shape == (80, 64, 3)
    if mode in ("L", "LA", "I;16"):
        assert np.array_equal(pixels[..., 0], np.asarray(grey))


GREY = np.add.outer(np.arange(48) * 2, np.arange(64) * 2).astype(np.uint8)
WIDE = GREY.astype(np.uint16) * 257


def tiff(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    """A TIFF by another library."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(cv2.imencode(".png", WIDE)[1].tobytes(), id="PNG of 16 bits"),
        pytest.param(b"P5 64 48 65535\n" + WIDE.astype(">u2").tobytes(), id="PGM of 16 bits"),
        pytest.param(b"P5 64 48 255\n" + GREY.tobytes(), id="PGM of 8 bits"),
        pytest.param(tiff(WIDE), id="uint16"),
        pytest.param(tiff(WIDE, byteorder=">"), id="uint16, big-endian"),
        pytest.param(tiff(65535 - WIDE, photometric="miniswhite"), id="uint16, white is 0"),
        pytest.param(tiff(255 - GREY, photometric="miniswhite"), id="uint8, white is 0"),
        pytest.param(tiff(GREY.astype(np.uint32) * 16843009), id="uint32"),
        pytest.param(tiff(WIDE.astype(np.int32)), id="int32 of 16 bits"),
        pytest.param(tiff(GREY.astype(np.int32)), id="int32 of 8 bits"),
        pytest.param(tiff(GREY.astype(np.float32) / 255), id="float32 of 0 to 1"),
        pytest.param(tiff(GREY.astype(np.float32)), id="float32 of 0 to 255"),
        pytest.param(b"Pf\n64 48\n-1.0\n" + (GREY[::-1].astype("<f4") / 255).tobytes(), id="PFM"),
        pytest.param(cv2.imencode(".png", cv2.merge([WIDE] * 3))[1].tobytes(), id="RGB PNG of 16 bits"),
        pytest.param(tiff(np.repeat(WIDE[..., None], 3, 2)), id="RGB TIFF of 16 bits"),
    ],
)
def test_more_than_eight_bits_are_scaled(data: bytes) -> None:
    assert np.array_equal(decode_rgb(data), np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize(
    "pixels",
    [WIDE.astype(np.int32) * 100, -WIDE.astype(np.int32), WIDE.astype("f4") * 9, np.full((48, 64), np.nan, "f4")],
)
def test_an_unknown_range_of_values_is_a_reject(pixels: npt.NDArray[Any]) -> None:
    with pytest.raises(ImageError, match="unknown pixel range"):
        decode_rgb(tiff(pixels))


def jpeg_with(marker: bytes = b"\xff\xc0", bits: int = 8) -> bytes:
    """A JPEG whose frame states another kind or other bits."""
    data = encoded(FACE, "JPEG")
    at = data.index(b"\xff\xc0")
    return data[:at] + marker + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (jpeg_with(bits=12), "JPEG of 12 bits"),
        (jpeg_with(b"\xff\xc3"), "lossless JPEG"),
        (tiff(np.zeros((48, 64, 3), "f4"), photometric="rgb"), "TIFF with an unknown pixel mode"),
        (tiff(np.zeros((48, 64), "f8")), "TIFF with an unknown pixel mode"),
    ],
)
def test_a_kind_that_is_not_read_is_not_called_damaged(data: bytes, detail: str) -> None:
    with pytest.raises(ImageError, match=f"format not read: {detail}; convert the images to PNG with 8 bits"):
        decode_rgb(data)
    assert jpeg_with() == encoded(FACE, "JPEG")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds hardly anything."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("head", "image"),
    [
        *((b"P6\n# Created by GIMP\n16 16 255\n", True), (b"P3\n# a comment\n", True), (b"P4 16 16\n", True)),
        *((b"II+\0", True), (b"MM\0+", True), (b"BM" + bytes(4) + b"\1\2\3\4" + bytes(4) + b"\x28\0\0\0", True)),
        *((b"BMW/1.png\nBMW/2.png\n", False), (b"P5/1.png 0\n", False), (b"P1 001.png\n", False), (b"P", False)),
        *((b"", False), (b"P6", False)),
    ],
)
def test_what_is_decoded_is_known_by_its_first_bytes(head: bytes, image: bool) -> None:
    assert is_image(head) is image


def test_many_segments_and_filling_bytes_cost_no_time() -> None:
    jpeg = encoded(np.zeros((64, 64, 3), np.uint8), "JPEG")
    for many in (b"\xff\xe2\0\2" * 2**19, b"\xff" * 2**21):
        with pytest.raises(ImageError, match="no scan within 10000 segments"):
            decode_rgb(jpeg[:2] + many + jpeg[2:])


def test_more_pixels_than_a_photograph_has_in_its_bytes_are_a_reject() -> None:
    """They cost as much time as any others, and a zip of 400 kB may hold hundreds."""
    for side, few in ((1400, False), (4000, True)):
        data = encoded(np.zeros((side, side), np.bool_))
        if not few:
            assert decode_rgb(data).shape == (side, side, 3)
            continue
        text = b"tEXtmore\0" + b" " * 400_000
        filled = data[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + data[33:]
        for small in (data, filled):
            with pytest.raises(ImageError, match="at most 2000 a byte; no photograph is so small"):
                decode_rgb(small)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_no_image_hides_behind_the_first_of_a_file(kind: str) -> None:
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=[second])
    with pytest.raises(ImageError, match="several images in a file"):
        decode_rgb(buffer.getvalue())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format not read"),
        (png_header(100_000, 100_000), "too many pixels"),
        (png_header(60_000, 2_000), "too many pixels"),
        (png_header(10_000, 9_000), "too many pixels"),
        (png_header(4, 400), "too small"),
        (encoded(FACE, "JPEG")[:700], "truncated"),
        (encoded(FACE)[: len(encoded(FACE)) // 2], "truncated"),
        (png_header(64, 64), "truncated"),
    ],
)
def test_what_is_no_usable_image_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_rgb(data)
    assert (caught.value.stage, caught.value.reason) == ("decode", reason)


SEEDS = [encoded(FACE, form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=12),
    st.integers(0, 2**14),
)
@examples(300)
def test_damaged_bytes_give_pixels_or_a_reason(seed: bytes, edits: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed)
    for at, value in edits:
        data[at % len(data)] = value
    damaged = bytes(data[: max(1, len(data) - cut)]) if cut % 2 else bytes(data)
    try:
        pixels = decode_rgb(damaged)
    except ImageError as error:
        assert error.stage == "decode" and error.reason
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3


def test_a_large_image_changes_no_warning_filter() -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True), pytest.raises(ImageError, match="too many pixels"):
        warnings.simplefilter("always")
        decode_rgb(png_header(10_000, 9_000))
    importlib.reload(decode)
    assert warnings.filters == before
