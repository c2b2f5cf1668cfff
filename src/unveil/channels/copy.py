"""The copy channel: whether two images are copies of each other, by a copy-detection model."""

from __future__ import annotations

from pathlib import Path

from unveil.channels.base import Channel, ChannelConfig, ImageArray
from unveil.channels.face_image import FaceImage
from unveil.choices import Device
from unveil.errors import ModelError, SettingError
from unveil.faces.align import resize
from unveil.faces.embedding_model import EmbeddingModel
from unveil.types import Vectors


class CopyChannel(Channel):
    """A model like SSCD (Pizzi et al. 2022, arXiv 2202.10261) in ONNX form, applied to whole images.

    Raises ModelError for a model of aligned faces.
    """

    name = "copy"

    def __init__(self, model: str | Path, device: Device = "cpu") -> None:
        self.model = EmbeddingModel(model, device=device)
        if self.model.spec.alignment != "whole":
            raise ModelError(
                f'--copy-model {model}: a copy-detection model was expected (alignment = "whole"), got alignment = '
                f'"{self.model.spec.alignment}"; see unveil models list'
            )
        self.dimension, self.model_id = self.model.spec.dimension, self.model.spec.model_id
        self.batch, self.runtime = self.model.batch, self.model.runtime

    @property
    def key(self) -> str:
        """The SHA-256 of the model file and of all that decides a vector."""
        return f"{self.model.spec.sha256} {self.model_id}"

    @classmethod
    def open(cls, config: ChannelConfig) -> CopyChannel:
        if config.copy_model is None:
            raise SettingError("the copy channel needs a copy-detection model; name it with --copy-model")
        return cls(config.copy_model, config.device)

    def crop(self, image: FaceImage) -> ImageArray:
        """The whole image, stretched to the square input of the model."""
        return resize(image.pixels, self.model.spec.input_size)

    def embed(self, crops: ImageArray) -> Vectors:
        return self.model.embed(crops)
