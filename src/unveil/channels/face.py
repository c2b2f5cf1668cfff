"""The face channel: who is in a picture, as a recognition network sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unveil.channels.base import Picture
from unveil.errors import ModelError, PictureError
from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE, resize, similarity, warp
from unveil.faces.landmarks import Face, face_in_crop, find_face
from unveil.faces.models import ModelSpec
from unveil.faces.recogniser import Recogniser
from unveil.types import Vectors


class FaceChannel:
    """A face network with its own detection and alignment."""

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

    def crop(self, picture: Picture, aligned: bool) -> Picture:
        if aligned:
            height, width = picture.shape[:2]
            if height != width:
                raise PictureError("detect", "not an aligned crop", f"{width} x {height} is not square; see --aligned")
            return template_face(picture, aligned) if self.spec.alignment == "arcface112" else _dlib_chip_of(picture)
        if self.spec.alignment == "arcface112":
            return template_face(picture, aligned)
        return _dlib_chip(picture, require_face(picture))

    def embed(self, crops: Picture) -> Vectors:
        return self._recogniser.embed(crops)


def template_face(picture: Picture, aligned: bool, margin: int = 0) -> Picture:
    """The face of a picture (H, W, 3) in the ArcFace template, 112 pixels and a ``margin`` on each side.

    A crop that is aligned already holds no margin, and is scaled only. Raises PictureError when no face is found.
    """
    if aligned:
        return resize(picture, TEMPLATE_SIZE)
    landmarks = require_face(picture).landmarks
    return warp(picture, similarity(landmarks, DLIB_IN_TEMPLATE + margin), TEMPLATE_SIZE + 2 * margin)


def realigned_face(crop: Picture) -> Picture:
    """An aligned crop (S, S, 3) brought to the ArcFace template once more, by landmarks found anew in it: undoes a
    small rotation, shift or zoom."""
    crop = resize(crop, TEMPLATE_SIZE)
    return warp(crop, similarity(face_in_crop(crop).landmarks, DLIB_IN_TEMPLATE), TEMPLATE_SIZE)


def require_face(picture: Picture) -> Face:
    """The face that a picture is of; PictureError when none is found."""
    face = find_face(picture)
    if face is None:
        raise PictureError("detect", "no face found", "see --aligned if these pictures are crops of faces already")
    return face


def _dlib_chip(picture: Picture, face: Face) -> Picture:
    import dlib

    return np.asarray(dlib.get_face_chip(picture, face.shape, size=150, padding=0.25), np.uint8)


def _dlib_chip_of(crop: Picture) -> Picture:
    return _dlib_chip(crop, face_in_crop(crop))
