"""The embedded images of one role by their ids, for the few stages that need pixels after embedding."""

from __future__ import annotations

from dataclasses import dataclass

from unveil.channels import FaceImage
from unveil.channels.base import ChannelConfig
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.engine import Engine
from unveil.errors import ImageError
from unveil.images import EmbeddingSource, Source
from unveil.types import Embedded, ImageRecord


@dataclass(frozen=True)
class ImageWorkers:
    """The workers of an engine, for images that this process reads and sends to them, and the models that they open."""

    engine: Engine
    config: ChannelConfig


class ImageReader:
    """Reads and decodes the images of a source in the same way as embedding did.

    With ``workers``, stages that look at many images have them decoded there.
    """

    def __init__(
        self,
        source: Source,
        embedded: Embedded,
        preprocessor: ImagePreprocessor,
        workers: ImageWorkers | None = None,
    ) -> None:
        self.source, self.embedded, self.preprocessor, self.workers = source, embedded, preprocessor, workers

    def label(self, id: str) -> str | None:
        """The label of an image of the source, if it has one."""
        return self._record(id).person

    def _record(self, id: str) -> ImageRecord:
        row = self.source.records.ids.row_of(id)
        if row is None:
            raise ImageError("read", "not in the source", id)
        return self.source.records[row]

    def person(self, id: str) -> str:
        """The person of an image; an image without a label is a person of its own."""
        return self.label(id) or id

    def data(self, id: str) -> bytes:
        """The bytes of an image. Raises ImageError if it cannot be read any more."""
        if isinstance(self.source, EmbeddingSource):  # before an index of perhaps millions of ids is made
            raise ImageError("read", "no image", "the source holds embeddings alone")
        return self.source.read(self._record(id))

    def read(self, id: str) -> FaceImage:
        """A decoded image. Raises ImageError as `data`, and if it cannot be decoded."""
        return self.decode(self.data(id))

    def decode(self, data: bytes) -> FaceImage:
        """A decoded image from its bytes. Raises ImageError if it cannot be decoded."""
        return self.preprocessor.decode(data)
