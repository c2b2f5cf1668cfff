"""A container whose writer stored blue where red belongs."""

from __future__ import annotations

from unveil.images.decode import decode_rgb, netpbm
from unveil.images.source import Source
from unveil.types import ImageRecord


class BgrSource(Source):
    """Another source with the channels of its pictures put right. Only when told: nothing in a file says so."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner.where, inner.rule)
        self.inner = inner
        self.kind, self.records = inner.kind, inner.records
        self.notes = [*inner.notes, "red and blue are exchanged, as told"]

    def read(self, record: ImageRecord) -> bytes:
        return netpbm(decode_rgb(self.inner.read(record))[..., ::-1])
