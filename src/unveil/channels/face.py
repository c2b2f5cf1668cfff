"""The face channel: who is in a picture, as a recognition network sees it."""

from __future__ import annotations

from pathlib import Path

from unveil.channels.base import ImageArray
from unveil.channels.face_image import FaceImage
from unveil.channels.network import NetworkChannel
from unveil.choices import Device
from unveil.errors import ModelError
from unveil.faces.detectors.dlib_hog import chip


class FaceChannel(NetworkChannel):
    """A face network, with the crop it was trained on."""

    name = "face"

    def __init__(self, model: str | Path | None = None, device: Device = "cpu") -> None:
        super().__init__(model, device)
        if self.spec.alignment == "whole":
            raise ModelError(f"--model {model}: a network for whole pictures tells no faces apart; see --copy-model")

    def crop(self, shot: FaceImage) -> ImageArray:
        if self.spec.alignment == "arcface112":
            return shot.aligned_crop
        # First the face: looking for it may bring the picture at its whole size.
        face = shot.face
        return chip(shot.image, face, self.spec.input_size)
