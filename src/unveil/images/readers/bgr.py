"""A container whose writer stored blue where red belongs."""

from __future__ import annotations

from unveil.images.decode import decode_rgb, netpbm
from unveil.images.source import Source
from unveil.types import ImageRecord


class BgrSource(Source):
    """Another source with red and blue exchanged. Only the user can ask for it: no file says which order it has."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner.where, inner.rule)
        self.inner = inner
        self.kind, self.records, self.ignored, self.unread = inner.kind, inner.records, inner.ignored, inner.unread
        self.reason, self.states_labels = inner.reason, inner.states_labels
        self.notes = [*inner.notes, "red and blue are exchanged, as you asked"]

    def read(self, record: ImageRecord) -> bytes:
        return netpbm(decode_rgb(self.inner.read(record))[..., ::-1])
