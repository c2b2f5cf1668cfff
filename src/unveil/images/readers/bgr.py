"""A container whose writer stored blue where red belongs."""

from __future__ import annotations

from unveil.errors import ImageError
from unveil.images.decode import decode_rgb, netpbm
from unveil.images.source import MAX_FILE_BYTES, Source
from unveil.io.memory import held_memory
from unveil.types import ImageRecord


class BgrSource(Source):
    """Another source with red and blue exchanged. Only the user can ask for it: no file says which order it has."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner.where, inner.rule)
        self.inner = inner
        self.kind, self.records, self.ignored, self.unread = inner.kind, inner.records, inner.ignored, inner.unread
        self.reason, self.states_labels = inner.reason, inner.states_labels
        self.left_out = inner.left_out
        self.notes = [*inner.notes, "red and blue are exchanged, as you asked"]

    def read(self, record: ImageRecord) -> bytes:
        with held_memory():
            pixels = decode_rgb(self.inner.read(record))
            if pixels.nbytes > MAX_FILE_BYTES:
                raise ImageError("read", "unreadable file", f"{pixels.nbytes} bytes, at most {MAX_FILE_BYTES} are read")
            red = pixels[..., 0].copy()
            pixels[..., 0] = pixels[..., 2]
            pixels[..., 2] = red
            return netpbm(pixels)
