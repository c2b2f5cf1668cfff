"""How alike two pictures look, whoever is in them: what a face network is trained to forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from unveil.channels.base import ImageArray

Grey = npt.NDArray[np.float32]
Hashes = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

# The coarse comparison, and by how many of its pixels one face may be shifted against the other.
COARSE, SHIFT = 48, 3
# Fine structure: what a blur of this many pixels takes away from a 112-pixel face, compared within FINE_SHIFT pixels.
FINE_BLUR, FINE_SHIFT = 2.0, 4
HASH_SIDE = 16  # a perceptual hash of 256 bits
FLAT = 1e-3


@dataclass(frozen=True)
class FaceDescriptor:
    """What is compared of one aligned face: coarse, fine, and its perceptual hashes, the mirrored one second."""

    coarse: Grey
    fine: Grey
    hashes: Hashes


@dataclass(frozen=True)
class ImageDescriptor:
    """What is compared of one picture: its aligned face, in one way or several, and the hashes of the whole."""

    faces: tuple[FaceDescriptor, ...]
    whole: Hashes


def describe_image(image: ImageArray, faces: Sequence[ImageArray]) -> ImageDescriptor:
    """The look of a picture (H, W, 3) whose face, aligned to the template, is each of ``faces`` (112, 112, 3)."""
    return ImageDescriptor(tuple(_describe_face(face) for face in faces), _hashes(image))


def _describe_face(face: ImageArray) -> FaceDescriptor:
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return FaceDescriptor(
        coarse=np.asarray(cv2.resize(grey, (COARSE, COARSE), interpolation=cv2.INTER_AREA), np.float32),
        fine=np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), FINE_BLUR), np.float32),
        hashes=_hashes(face),
    )


def correlation(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """The highest normalised correlation of the coarse faces over small shifts and mirroring."""
    return max(_best_correlation(x.coarse, y.coarse, SHIFT) for x, y in product(a.faces, b.faces))


def detail_correlation(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """The same of their fine structure."""
    return max(_best_correlation(x.fine, y.fine, FINE_SHIFT) for x, y in product(a.faces, b.faces))


def hash_distance(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """By how many of 256 bits the perceptual hashes differ, of the faces or of the pictures, mirrored or not."""
    pairs = [(a.whole, b.whole), *((x.hashes, y.hashes) for x, y in product(a.faces, b.faces))]
    return float(min(int((own[0] != other).sum()) for own, others in pairs for other in others))


def _best_correlation(a: Grey, b: Grey, shift: int) -> float:
    best = -1.0
    for other in (b, b[:, ::-1]):
        inner = np.ascontiguousarray(other[shift:-shift, shift:-shift])
        if inner.std() < FLAT or a.std() < FLAT:
            return 0.0
        found = cv2.matchTemplate(a, inner, cv2.TM_CCOEFF_NORMED)
        best = max(best, float(np.nan_to_num(found, nan=-1.0, posinf=-1.0, neginf=-1.0).max()))
    return min(1.0, best)


def _hashes(image: ImageArray) -> Hashes:
    import imagehash
    from PIL import Image

    def one(pixels: ImageArray) -> npt.NDArray[np.bool_]:
        return np.asarray(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash, np.bool_)

    return one(image), one(np.ascontiguousarray(image[:, ::-1]))
