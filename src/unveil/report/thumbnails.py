"""Thumbnails of images for the report, read from their sources when they are shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import TypeVar

from PIL import Image

from unveil.errors import ImageError
from unveil.images import Source, decode_rgb
from unveil.io.memory import held_memory

R = TypeVar("R", bound=str)
S = TypeVar("S", bound=str)

SIDE = 208
QUALITY = 82


class Thumbnails:
    """Thumbnails as data URIs. They are made from decoded pixels, so no metadata of the original is included."""

    def __init__(self, sources: Mapping[R, Source], ids: Mapping[S, Iterable[str]]) -> None:
        """``ids`` are the images that are shown, of each role or set in ``sources``."""
        self._sources = {str(role): source for role, source in sources.items()}
        self._records = {
            str(role): self._sources[str(role)].records.with_ids(of_role)
            for role, of_role in ids.items()
            if str(role) in self._sources
        }

    @property
    def roles(self) -> frozenset[str]:
        """The roles or sets whose images are read."""
        return frozenset(self._sources)

    def thumbnail(self, role: str, id: str) -> str | None:
        """The image as a JPEG data URI of at most SIDE pixels, or None if it can no longer be read."""
        record = self._records.get(role, {}).get(id)
        if record is None:
            return None
        buffer = io.BytesIO()
        with held_memory():
            try:
                image = Image.fromarray(decode_rgb(self._sources[role].read(record)))
            except ImageError:
                return None
            scale = SIDE / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
