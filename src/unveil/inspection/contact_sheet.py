"""A contact sheet: some images of some people in one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from unveil.io.atomic import write_bytes
from unveil.io.output_file import OutputKind, with_head

# Pixels of a cell, of the gap between cells and of a line of text.
CELL, GAP, TEXT_HEIGHT = 112, 6, 20
MAX_NAME = 60
BACKGROUND, TEXT = (255, 255, 255), (92, 100, 112)
# What a sheet says of itself.
MARK = "unveil contact sheet"
CONTACT_SHEET = OutputKind("a contact sheet", with_head(MARK))


def in_cell(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image (H, W, 3) uint8, reduced to a cell; it keeps its aspect ratio."""
    image = Image.fromarray(pixels)
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return np.asarray(image)


def contact_png(rows: Sequence[tuple[str, Sequence[npt.NDArray[np.uint8]]]], path: Path) -> None:
    """Writes rows of images (H, W, 3) uint8, as `in_cell` makes them, with a name above each row."""
    across = max((len(images) for _, images in rows), default=1) or 1
    names = any(name for name, _ in rows)
    height = CELL + GAP + (TEXT_HEIGHT if names else 0)
    sheet = Image.new("RGB", (GAP + across * (CELL + GAP), GAP + max(1, len(rows)) * height), BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (name, images) in enumerate(rows):
        top = GAP + i * height
        if names:
            shown = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
            pen.text((GAP, top + 2), shown, TEXT, font)
            top += TEXT_HEIGHT
        for k, pixels in enumerate(images):
            image = Image.fromarray(pixels)
            left = GAP + k * (CELL + GAP)
            sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
    buffer, about = io.BytesIO(), PngInfo()
    about.add_text("Software", MARK)
    sheet.save(buffer, "PNG", pnginfo=about)
    write_bytes(path, buffer.getvalue())
