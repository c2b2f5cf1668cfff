"""The face channel: who is in an image, by a face recognition model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unveil.channels.base import Channel, ChannelConfig, ImageArray
from unveil.channels.face_image import FaceImage, locate_faces
from unveil.choices import FACE, Device
from unveil.errors import ModelError
from unveil.faces.detectors.dlib_hog import dlib_crop
from unveil.faces.embedding_model import EmbeddingModel
from unveil.types import Vectors


class FaceChannel(Channel):
    """A face recognition model, with the crop that it was trained on; the default model for None.

    Raises ModelError for a model of whole images.
    """

    name = FACE

    def __init__(self, model: str | Path | None = None, device: Device = "cpu") -> None:
        self.model = EmbeddingModel(model, device=device)
        if self.model.spec.alignment == "whole":
            raise ModelError(
                f"--model {model}: a face recognition model was expected, got a model of whole images; see --copy-model"
            )
        self.dimension, self.model_id = self.model.spec.dimension, self.model.spec.model_id
        self.batch, self.runtime = self.model.batch, self.model.runtime

    @classmethod
    def open(cls, config: ChannelConfig) -> FaceChannel:
        return cls(config.models[0], config.device)

    def prepare(self, images: Sequence[FaceImage]) -> None:
        if self.model.spec.alignment != "arcface112":
            locate_faces(images)

    def crop(self, image: FaceImage) -> ImageArray:
        if self.model.spec.alignment == "arcface112":
            crop = image.aligned_crop
            image.check_contrast()
            return crop
        # The face first: detection may replace reduced pixels by those of the full size.
        face = image.face
        image.check_contrast()
        return dlib_crop(image.pixels, face, self.model.spec.input_size)

    def embed(self, crops: ImageArray) -> Vectors:
        return self.model.embed(crops)
