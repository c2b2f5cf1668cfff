"""The images of a finished run as they were audited: another image under the same name is none of them."""

from __future__ import annotations

import hashlib

from unveil.columns import Texts
from unveil.embedding.precomputed import vector_digest
from unveil.errors import ImageError
from unveil.images import EmbeddingSource, Source
from unveil.types import ImageRecord


class UnchangedImages(Source):
    """A source whose images are those of an audit, by the SHA-256 ``digests`` of the images with these ``ids``.

    ``read`` raises ImageError for any other image. ``changed`` are the ids for which it did.
    """

    def __init__(self, source: Source, ids: Texts, digests: Texts) -> None:
        super().__init__(source.where, source.rule)
        self.kind, self.records = source.kind, source.records
        self.changed: set[str] = set()
        self._source, self._ids, self._digests = source, ids, digests

    def read(self, record: ImageRecord) -> bytes:
        data = self._source.read(record)
        self._compare(record, hashlib.sha256(data).hexdigest())
        return data

    def check(self, record: ImageRecord) -> None:
        """Raises ImageError as `read`; also for a record of embeddings, which has no image."""
        if not isinstance(self._source, EmbeddingSource):
            self.read(record)
            return
        row = self._source.records.ids.row_of(record.id)
        if row is not None:
            self._compare(record, vector_digest(self._source, row))

    def _compare(self, record: ImageRecord, digest: str) -> None:
        row = self._ids.row_of(record.id)
        if row is None or digest != self._digests[row]:
            self.changed.add(record.id)
            raise ImageError("read", "changed since the audit", record.id)
