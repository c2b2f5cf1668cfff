"""The face channel: who is in a picture, as a recognition network sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unveil.channels.base import Picture
from unveil.channels.shot import Shot
from unveil.errors import ModelError
from unveil.faces.models import ModelSpec
from unveil.faces.recogniser import Recogniser
from unveil.types import Vectors


class FaceChannel:
    """A face network, with the crop it was trained on."""

    name = "face"

    def __init__(self, model: Path | None = None) -> None:
        self._recogniser = Recogniser(model)
        self.spec: ModelSpec = self._recogniser.spec
        if self.spec.alignment == "whole":
            raise ModelError(f"--model {model}: a network for whole pictures tells no faces apart; see --copy-model")

    @property
    def dimension(self) -> int:
        return self.spec.dimension

    @property
    def model_id(self) -> str:
        return self.spec.model_id

    def crop(self, shot: Shot) -> Picture:
        if self.spec.alignment == "arcface112":
            return shot.template
        import dlib

        return np.asarray(dlib.get_face_chip(shot.picture, shot.face.shape, size=150, padding=0.25), np.uint8)

    def embed(self, crops: Picture) -> Vectors:
        return self._recogniser.embed(crops)
