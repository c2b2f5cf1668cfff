"""Small pictures for the page, read from the sources when they are shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping

from PIL import Image

from unveil.errors import ImageError
from unveil.images import Source, decode_rgb
from unveil.types import Role

SIDE = 208
QUALITY = 82


class Thumbnails:
    """Thumbnails as data URIs. Made from decoded pixels alone: no metadata of the original goes along."""

    def __init__(self, sources: Mapping[Role, Source], wanted: Mapping[Role, Iterable[str]]) -> None:
        self._sources = sources
        self._records = {
            role: {record.id: record for record in sources[role].records if record.id in ids}
            for role, ids in ((role, frozenset(ids)) for role, ids in wanted.items())
            if role in sources
        }

    def thumbnail(self, role: Role, id: str) -> str | None:
        """The picture as a JPEG data URI of at most SIDE pixels, or None when it cannot be read any more."""
        record = self._records.get(role, {}).get(id)
        if record is None:
            return None
        try:
            pixels = decode_rgb(self._sources[role].read(record))
        except ImageError:
            return None
        image = Image.fromarray(pixels)
        scale = SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
