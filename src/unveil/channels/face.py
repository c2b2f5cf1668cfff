"""The face channel: who is in a picture, as a recognition network sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unveil.channels.base import Picture
from unveil.channels.network import NetworkChannel
from unveil.channels.shot import Shot
from unveil.errors import ModelError


class FaceChannel(NetworkChannel):
    """A face network, with the crop it was trained on."""

    name = "face"

    def __init__(self, model: Path | None = None) -> None:
        super().__init__(model)
        if self.spec.alignment == "whole":
            raise ModelError(f"--model {model}: a network for whole pictures tells no faces apart; see --copy-model")

    def crop(self, shot: Shot) -> Picture:
        if self.spec.alignment == "arcface112":
            return shot.template
        import dlib

        return np.asarray(dlib.get_face_chip(shot.picture, shot.face.shape, size=150, padding=0.25), np.uint8)
