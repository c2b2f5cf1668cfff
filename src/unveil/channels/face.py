"""The face channel: who is in a picture, as a recognition network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unveil.channels.base import NoCrop, Picture
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
                raise NoCrop("not an aligned crop", f"{width} x {height} is not square; see --aligned")
            return resize(picture, TEMPLATE_SIZE) if self.spec.alignment == "arcface112" else _dlib_chip_of(picture)
        face = find_face(picture)
        if face is None:
            raise NoCrop("no face found", "see --aligned if these pictures are crops of faces already")
        if self.spec.alignment == "dlib150":
            return _dlib_chip(picture, face)
        return warp(picture, similarity(face.landmarks, DLIB_IN_TEMPLATE), TEMPLATE_SIZE)

    def embed(self, crops: Picture) -> Vectors:
        return self._recogniser.embed(crops)


def _dlib_chip(picture: Picture, face: Face) -> Picture:
    import dlib

    return np.asarray(dlib.get_face_chip(picture, face.shape, size=150, padding=0.25), np.uint8)


def _dlib_chip_of(crop: Picture) -> Picture:
    return _dlib_chip(crop, face_in_crop(crop))


# An aligned set has its landmarks at the template's places: on the whole (the median over pictures) and one by one.
# In 112-pixel units; aligned LFW measures 0.7 and 2.5, pictures framed like FFHQ 4.1 and 4.5.
LARGEST_BIAS, LARGEST_SPREAD = 2.0, 5.0


@dataclass(frozen=True)
class AlignmentFinding:
    """Whether a source holds aligned crops, and the sentence that says why."""

    aligned: bool
    why: str


def recognise_alignment(pictures: Sequence[Picture]) -> AlignmentFinding:
    """Whether a sample of pictures (H, W, 3) are crops aligned to the ArcFace template.

    Looks for the face with a border added around each picture, and compares where its landmarks lie with the template.
    """
    if not pictures:
        return AlignmentFinding(False, "no picture of the sample could be read")
    square = [p for p in pictures if p.shape[0] == p.shape[1]]
    if len(square) < 0.95 * len(pictures):
        return AlignmentFinding(False, f"{len(pictures) - len(square)} of {len(pictures)} sampled are not square")
    offsets = []
    for picture in square:
        side = picture.shape[0]
        border = side // 4
        face = find_face(cv2.copyMakeBorder(picture, *[border] * 4, cv2.BORDER_REPLICATE))  # type: ignore[arg-type]
        if face is not None:
            offsets.append((face.landmarks - border) * (TEMPLATE_SIZE / side) - DLIB_IN_TEMPLATE)
    if len(offsets) < max(1, len(square) // 2):
        return AlignmentFinding(False, f"a face was found in {len(offsets)} of {len(square)} sampled")
    apart = np.array(offsets)
    bias = float(np.sqrt((np.median(apart, axis=0) ** 2).sum(1).mean()))
    spread = float(np.median(np.sqrt((apart**2).sum(2).mean(1))))
    aligned = bias <= LARGEST_BIAS and spread <= LARGEST_SPREAD
    return AlignmentFinding(
        aligned,
        f"landmarks of {len(offsets)} sampled lie {bias:.1f} px from the ArcFace template on the whole, "
        f"{spread:.1f} px one by one (at most {LARGEST_BIAS:g} and {LARGEST_SPREAD:g} of {TEMPLATE_SIZE})",
    )
