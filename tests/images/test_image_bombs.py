"""Images of many pixels in a few bytes: a process that embeds a set of them by two threads stays below a gibibyte."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.builders import drawn_faces, encoded, write
from unveil.errors import ImageError
from unveil.images import decode, decode_rgb, image_size
from unveil.images.av1_size import _size_of, coded_size
from unveil.images.decode import FORMATS
from unveil.images.silence import without_warnings
from unveil.io import memory
from unveil.io.memory import MemoryBudget, held_memory, image_memory

LARGEST_PEAK = 2**30
CHILD = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unveil.channels import AppearanceChannel, FaceChannel, open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.embedding.pipeline import ImagePreprocessor, embed_images
from unveil.images import decode

decode.MAX_PIXELS_PER_BYTE = 2**30  # an image of one colour stands for any other of its size
resource.setrlimit(resource.RLIMIT_CPU, (100, 110))
channels = [FaceChannel(), AppearanceChannel()]
preprocessor = ImagePreprocessor(channels, ImageAlignment(frozenset(), ""), open_detector(None))
data = Path(sys.argv[1]).read_bytes()

def embed(data):
    rows, _ = embed_images([partial(preprocessor.decode, data)] * 2, channels)
    print(rows[0].stage, rows[0].reason, rows[0].detail)

with ThreadPoolExecutor(2) as pool:
    list(pool.map(embed, [data, data[: len(data) * 3 // 4]]))
lines = Path("/proc/self/status").read_text().splitlines()
print("peak", next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024)
"""
SIDE = 8900
COLOUR = (120, 90, 60)


def saved(kind: str, *, side: int = SIDE, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    """An image of one colour."""

    def make() -> bytes:
        buffer = io.BytesIO()
        image = Image.new("RGB", (side, side), COLOUR)
        if kind == "HEIF":
            import pillow_heif

            pillow_heif.from_pillow(image).save(buffer, **options)
        else:
            (image if mode == "RGB" else image.convert(mode)).save(buffer, kind, **options)
        return buffer.getvalue()

    return make


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE), 300, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def floats() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE), 0.5, np.float32)).save(buffer, "TIFF", compression="tiff_deflate")
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("PNG", exif=exif)()


def run_lengths() -> bytes:
    """A BMP in which two bytes are up to 255 pixels."""
    row = b"\xff\x07" * (SIDE // 255) + bytes([SIDE % 255, 7]) + b"\0\0"
    data, palette = row * SIDE + b"\0\1", bytes(4 * 256)
    start = 14 + 40 + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    head += struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(data), 0, 0, 256, 0)
    return head + palette + data


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": saved("PNG"),
    "PNG, transparent": saved("PNG", mode="RGBA"),
    "PNG, 16 bits": sixteen_bits,
    "PNG, turned": turned,
    "JPEG": saved("JPEG", quality=50),
    "JPEG, progressive": saved("JPEG", progressive=True, quality=50),
    "JPEG, progressive in four colours": saved("JPEG", side=7000, mode="CMYK", progressive=True, quality=50),
    "WEBP, lossless": saved("WEBP", side=5900, lossless=True, quality=0, method=0),
    "WEBP": saved("WEBP", side=5900, quality=10, method=0),
    "TIFF, LZW": saved("TIFF", compression="tiff_lzw"),
    "TIFF, deflate in one strip": saved("TIFF", compression="tiff_deflate", tiffinfo={278: SIDE}),
    "TIFF, floats": floats,
    "TIFF, fax": saved("TIFF", mode="1", compression="group4"),
    "GIF": saved("GIF", mode="P"),
    "BMP, run lengths": run_lengths,
    "PPM, bits": saved("PPM", mode="1"),
    "AVIF": saved("AVIF", side=7000, quality=10, speed=10),
    "HEIF": saved("HEIF", side=7000, quality=10),
}


# Each takes 5 to 20 seconds, so CI runs one, and the others run at night.
IN_CI = ("JPEG, progressive",)


def test_every_format_has_a_bomb() -> None:
    assert {name.partition(",")[0] for name in BOMBS} >= set(FORMATS)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux states it")
@pytest.mark.parametrize(
    "name", [name if name in IN_CI else pytest.param(name, marks=pytest.mark.nightly) for name in BOMBS]
)
def test_a_set_of_large_images_takes_little_memory(name: str, tmp_path: Path) -> None:
    if name.partition(",")[0] not in FORMATS:
        pytest.skip("not read by this installation")
    place = write(tmp_path / "bomb", BOMBS[name]())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", CHILD, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1000, env=environment)
    assert done.returncode == 0 and done.stderr == "", f"{done.returncode} {done.stderr[-2000:]}"
    assert "detect no face found" in done.stdout, "the whole image is decoded"
    peak = re.search(r"peak (\d+)", done.stdout)
    assert peak is not None and int(peak[1]) < LARGEST_PEAK, done.stdout


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF"])
def test_the_limit_of_pixels_is_that_of_the_format(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind not in FORMATS:
        pytest.skip("not read by this installation")
    large, small = saved(kind, side=400)(), saved("PNG", side=400)()
    monkeypatch.setattr(decode, "MAX_IMAGE_BYTES", 8 * 400 * 400)
    assert image_size(small) == (400, 400)
    with pytest.raises(ImageError, match=f"400 x 400 in {kind} take"):
        image_size(large)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_the_stream_of_an_avif_counts_and_not_the_size_in_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("AVIF", side=400)()
    stated = re.sub(b"(?s)(ispe....).{8}", rb"\1" + 2 * (64).to_bytes(4, "big"), data)
    assert coded_size(stated) == coded_size(data) == (400 * 400, 400 * 400)
    taken: list[int] = []

    def counted(n: int) -> AbstractContextManager[None]:
        taken.append(n)
        return nullcontext()

    monkeypatch.setattr(decode, "image_memory", counted)
    assert decode.decode_rgb(stated).shape == (64, 64, 3) and taken.pop() >= 8 * 400 * 400
    # What cannot be followed waits until it is alone.
    assert coded_size(data.replace(b"iinf", b"free")) is None
    monkeypatch.setattr(decode, "coded_size", lambda data: None)
    assert decode.decode_rgb(stated).shape == (64, 64, 3) and taken.pop() >= memory.MAX_IMAGE_BYTES
    monkeypatch.undo()
    monkeypatch.setattr(decode, "MAX_IMAGE_BYTES", 8 * 400 * 400)
    with pytest.raises(ImageError, match="64 x 64 by its header, but 160000 pixels by its AV1 stream"):
        image_size(stated)
    monkeypatch.undo()
    monkeypatch.setattr(decode, "FEW_PIXELS", 100 * 100)
    monkeypatch.setattr(decode, "MAX_PIXELS_PER_BYTE", 100)
    with pytest.raises(ImageError, match="no photograph is so small"):
        image_size(stated)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_an_avif_that_is_a_video_is_a_reject() -> None:
    with pytest.raises(ImageError, match="tracks of a video"):
        image_size(saved("AVIF", side=64)() + b"\0\0\0\x08moov")


@pytest.mark.parametrize("reduced", [False, True])
def test_the_size_in_a_sequence_header(reduced: bool) -> None:
    start = "000" + "1" + ("1" + "00000" if reduced else "0" + "0" + "0" + "00000" + 12 * "0" + "01000" + "0")
    bits = start + "1000" + "1001" + f"{299:09b}" + f"{599:010b}" + 24 * "0"
    header = int(bits.ljust(128, "0"), 2).to_bytes(16, "big")
    assert _size_of(header) == (300 * 600, 300 * 600 if reduced else 2**19)


def test_the_tile_of_a_tiff_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {256: 400, 257: 400, 258: 8, 259: 1, 262: 1, 277: 1, 322: 1600, 323: 1600, 324: 8, 325: 1600 * 1600}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4)
    with Image.open(io.BytesIO(data)) as image:
        assert decode._bytes_needed(image, image.size, data, None) >= 1600 * 1600
    monkeypatch.setattr(decode, "MAX_IMAGE_BYTES", 1600 * 1600)
    with pytest.raises(ImageError, match="400 x 400 in TIFF take"):
        image_size(data)


@pytest.mark.parametrize("header", ["P5 40 40 100 ", "P6 40 40 1000 ", "P2 40 40 255 "])
def test_a_netpbm_that_is_slow_to_decode_is_small(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = header.encode() + b"0 " * 40 * 40 * 3
    assert image_size(data) == (40, 40)
    monkeypatch.setattr(decode, "MAX_SLOW_VALUES", 1599)
    with pytest.raises(ImageError, match="40 x 40 in a netpbm as text, or with another largest value"):
        image_size(data)
    assert image_size(b"P5 40 40 255 " + bytes(1600)) == (40, 40)


@pytest.mark.parametrize("runs", [b"\x28\5" * 40, b"\0\5" * 1600], ids=["pixels", "runs of none"])
def test_a_bmp_of_run_lengths_is_small(runs: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    image = io.BytesIO()
    Image.new("P", (40, 40)).save(image, "BMP")
    head = bytearray(image.getvalue()[:-1600])
    head[30:34] = (1).to_bytes(4, "little")
    data = bytes(head) + runs
    assert image_size(data) == (40, 40)
    monkeypatch.setattr(decode, "MAX_SLOW_VALUES", 1599 if len(runs) < 1600 else 1600)
    with pytest.raises(ImageError, match="or in a BMP with run lengths"):
        image_size(data)
    assert image_size(image.getvalue()) == (40, 40)


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_coefficients_of_several_scans_are_counted(sampling: int, mode: str, progressive: bool) -> None:
    image = Image.new("RGB", (64, 64), COLOUR).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", progressive=progressive, subsampling=sampling)
    frame = decode._jpeg_frame(buffer.getvalue())
    channels = {"L": 1.0, "RGB": 3.0 if sampling == 0 else 1.5, "CMYK": 4.0}[mode]
    if mode == "CMYK" and sampling == 2:
        channels = frame.coefficient_bytes / 2 if frame is not None and progressive else 0.0
        assert not progressive or 1.5 < channels <= 4
    assert frame is not None and frame.coefficient_bytes == (2 * channels if progressive else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_strips_change_no_pixel(mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    face = Image.fromarray(drawn_faces(1)[0][:80, :64])
    image = (
        Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) << 7) if mode == "I;16" else face.convert(mode)
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    whole = decode_rgb(buffer.getvalue())
    monkeypatch.setattr(decode, "STRIP_PIXELS", 64 * 7)
    assert np.array_equal(decode_rgb(buffer.getvalue()), whole)


def test_a_failed_image_leaves_no_pixels_behind() -> None:
    """The traceback of an error holds the frames in which it was raised, and their arrays."""
    with pytest.raises(ImageError) as caught:
        decode_rgb(encoded(drawn_faces(1)[0], "PNG")[:-2000])
    trace, names = caught.value.__traceback__, []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    assert not any("PIL" in name for name in names) and caught.value.__context__ is None


def test_threads_wait_in_order_and_one_alone_is_never_refused() -> None:
    budget = MemoryBudget(100)
    budget.take(500)
    order: list[int] = []

    def take(n: int) -> None:
        budget.take(n)
        order.append(n)

    threads = [threading.Thread(target=take, args=(n,)) for n in (90, 5, 70)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    assert order == []
    budget.give_back(500)
    threads[0].join(10)
    threads[1].join(10)
    assert order == [90, 5] and threads[2].is_alive()
    budget.give_back(90)
    threads[2].join(10)
    assert order == [90, 5, 70]


def test_threads_that_need_more_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IMAGES", MemoryBudget(100))
    both = threading.Barrier(2, timeout=30)
    running, most = [0], [0]

    def work(_: int) -> None:
        with held_memory():
            with image_memory(40):
                both.wait()
            with image_memory(80):
                running[0] += 1
                most[0] = max(most[0], running[0])
                time.sleep(0.01)
                running[0] -= 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert most == [1]
    memory.IMAGES.take(100)  # nothing is left taken


HOSTILE_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x20\0" + struct.pack("<HHII", 0x9286, 2, 10**6, 10**6) * 3
SPEAKS = """
import io, struct, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unveil.errors import ImageError
from unveil.images import decode_rgb

def read(path):
    try:
        decode_rgb(Path(path).read_bytes())
    except ImageError:
        pass

with ThreadPoolExecutor(4) as pool:
    list(pool.map(read, sys.argv[1:] * 8))
warnings.warn("of the program itself")
"""


def test_nothing_that_a_decoder_says_reaches_the_terminal(tmp_path: Path) -> None:
    face = drawn_faces(1)[0]
    tiff = bytearray(encoded(face, "TIFF", compression="tiff_lzw"))
    tiff[2000:2400] = b"\xff" * 400
    plain = encoded(face, "TIFF")
    images = {
        "exif.png": encoded(face, "PNG", exif=HOSTILE_EXIF),
        "lzw.tif": bytes(tiff),
        "cut.tif": plain[: len(plain) // 2],
        "exif.jpg": encoded(face, "JPEG", exif=HOSTILE_EXIF),
    }
    files = [str(write(tmp_path / name, data)) for name, data in images.items()]
    done = subprocess.run([sys.executable, "-c", SPEAKS, *files], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "warnings.warn(" not in line]
    assert len(said) == 1 and said[0].endswith("UserWarning: of the program itself"), done.stderr


def test_other_threads_keep_their_warnings() -> None:
    with pytest.warns(UserWarning, match="heard"), ThreadPoolExecutor(1) as pool, without_warnings():
        pool.submit(__import__("warnings").warn, "heard").result()
