"""How similar two images are as images, whoever is in them: by correlation and perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from unveil.faces.align import ImageArray

Grey = npt.NDArray[np.float32]
Hashes = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

# Pixels of each side in the coarse comparison, and the largest shift between two faces in it.
COARSE, SHIFT = 48, 3
# Fine structure: what a blur of this sigma in pixels removes from a 112-pixel face, and the largest shift.
FINE_BLUR, FINE_SHIFT = 2.0, 4
# Pixels that are converted to grey at a time.
MAX_GREY_PIXELS = 2**22
HASH_SIDE = 16  # perceptual hashes have 16 x 16 = 256 bits
FLAT = 1e-3  # standard deviation below which a face has no structure to compare


@dataclass(frozen=True)
class FaceDescriptor:
    """One aligned face: coarse grey levels, fine structure, and perceptual hashes of the face and its mirror image."""

    coarse: Grey
    fine: Grey
    hashes: Hashes


@dataclass(frozen=True)
class ImageDescriptor:
    """One image: its face in one alignment or several, and the perceptual hashes of the whole image."""

    faces: tuple[FaceDescriptor, ...]
    whole: Hashes


def describe_image(image: ImageArray, faces: Sequence[ImageArray]) -> ImageDescriptor:
    """Describes an image (H, W, 3) uint8 RGB. ``faces`` (112, 112, 3) are alignments of its face to the template."""
    return ImageDescriptor(tuple(_describe_face(face) for face in faces), _hashes(image))


def _describe_face(face: ImageArray) -> FaceDescriptor:
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return FaceDescriptor(
        coarse=np.asarray(cv2.resize(grey, (COARSE, COARSE), interpolation=cv2.INTER_AREA), np.float32),
        fine=np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), FINE_BLUR), np.float32),
        hashes=_hashes(face),
    )


def correlation(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """The highest normalised correlation of the coarse faces over small shifts and mirroring, at most 1."""
    return max(_best_correlation(x.coarse, y.coarse, SHIFT) for x, y in product(a.faces, b.faces))


def detail_correlation(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """The highest normalised correlation of the fine structure over small shifts and mirroring, at most 1."""
    return max(_best_correlation(x.fine, y.fine, FINE_SHIFT) for x, y in product(a.faces, b.faces))


def hash_distance(a: ImageDescriptor, b: ImageDescriptor) -> float:
    """The smallest Hamming distance (0 to 256) of the hashes of faces or of whole images, mirrored or not."""
    pairs = [(a.whole, b.whole), *((x.hashes, y.hashes) for x, y in product(a.faces, b.faces))]
    return float(min(int((own[0] != other).sum()) for own, others in pairs for other in others))


def _best_correlation(a: Grey, b: Grey, shift: int) -> float:
    best = -1.0
    for other in (b, b[:, ::-1]):
        inner = np.ascontiguousarray(other[shift:-shift, shift:-shift])
        if inner.std() < FLAT or a.std() < FLAT:
            return 0.0
        correlations = cv2.matchTemplate(a, inner, cv2.TM_CCOEFF_NORMED)
        best = max(best, float(np.nan_to_num(correlations, nan=-1.0, posinf=-1.0, neginf=-1.0).max()))
    return min(1.0, best)


def _hashes(image: ImageArray) -> Hashes:
    import imagehash
    from PIL import Image

    def phash(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        return np.asarray(imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE).hash, np.bool_)

    # Pillow's grey, some rows at a time: in colour it would copy a large image several times.
    rows = max(1, MAX_GREY_PIXELS // image.shape[1])
    strips = (Image.fromarray(image[i : i + rows]).convert("L") for i in range(0, len(image), rows))
    grey = np.concatenate([np.asarray(strip) for strip in strips])
    return phash(grey), phash(np.ascontiguousarray(grey[:, ::-1]))
