"""The copy channel: whether two pictures are one, whatever was done to it, as a copy-detection network sees it."""

from __future__ import annotations

from pathlib import Path

from unveil.channels.base import ImageArray
from unveil.channels.face_image import FaceImage
from unveil.channels.network import NetworkChannel
from unveil.choices import Device
from unveil.errors import ModelError
from unveil.faces.align import resize


class CopyChannel(NetworkChannel):
    """A network like SSCD (Pizzi et al. 2022, arXiv 2202.10261) in ONNX form, with a descriptor beside it."""

    name = "copy"

    def __init__(self, model: str | Path, device: Device = "cpu") -> None:
        super().__init__(model, device)
        if self.spec.alignment != "whole":
            raise ModelError(
                f'--copy-model {model}: its descriptor says alignment = "{self.spec.alignment}"; a copy-detection '
                'network looks at the whole picture: alignment = "whole"'
            )

    def crop(self, shot: FaceImage) -> ImageArray:
        """The whole picture, stretched to the network's square."""
        return resize(shot.image, self.spec.input_size)
