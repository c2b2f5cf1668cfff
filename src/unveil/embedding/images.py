"""The pictures of one role, found again by their ids, for the few steps that look at pixels after embedding."""

from __future__ import annotations

from functools import cached_property

from unveil.channels import FaceImage
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import ImageError
from unveil.images import Source
from unveil.types import Embedded, ImageRecord


class ImageReader:
    """A source, what was embedded of it, and how its pictures are looked at."""

    def __init__(self, source: Source, embedded: Embedded, way: ImagePreprocessor) -> None:
        self.source, self.embedded, self.preprocessor = source, embedded, way

    @cached_property
    def _records(self) -> dict[str, ImageRecord]:
        return {record.id: record for record in self.source.records}

    def data(self, id: str) -> bytes:
        """The bytes of a picture; PictureError when it cannot be read any more."""
        record = self._records.get(id)
        if record is None:
            raise ImageError("read", "not in the source", id)
        return self.source.read(record)

    def read(self, id: str) -> FaceImage:
        """A picture, decoded; PictureError as for `data`."""
        return self.decode(self.data(id))

    def decode(self, data: bytes) -> FaceImage:
        """`read` for bytes that were read already."""
        return self.preprocessor.decode(data)
