"""Perturbations of a face image, by kind and strength. Sizes are in pixels of a 112-pixel aligned face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]
PerturbationKind = Literal["re-encode", "blur", "downsample", "flip", "rotate", "colour", "occlude", "blend", "realign"]


@dataclass(frozen=True)
class Perturbation:
    """One kind at one strength: ``amount`` in the unit that ``strength`` names."""

    kind: PerturbationKind
    amount: float
    strength: str


# Each kind from its weakest to its strongest.
PERTURBATIONS: tuple[Perturbation, ...] = (
    *(Perturbation("re-encode", q, f"quality {q}") for q in (60, 30, 15, 5)),
    *(Perturbation("blur", s, f"{s} px") for s in (1, 2, 3, 4)),
    *(Perturbation("downsample", s, f"to {s} px") for s in (56, 37, 28, 19)),
    Perturbation("flip", 1, "mirrored"),
    *(Perturbation("rotate", d, f"{d}\N{DEGREE SIGN}") for d in (5, 10, 20)),
    *(Perturbation("colour", c, f"{c:.0%} faded") for c in (0.3, 0.6, 0.9)),
    *(Perturbation("occlude", f, f"{f:.0%} hidden") for f in (0.1, 0.25, 0.4)),
    *(Perturbation("blend", w, f"{w:.0%} person") for w in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
    # Two detectors align one photograph 2.5 to 4 pixels apart in the median (docs/decisions/0030-registration.md).
    *(Perturbation("realign", d, f"{d} px") for d in (2, 4, 6)),
)
_QUICK = {
    *(("re-encode", 30), ("blur", 2), ("flip", 1), ("occlude", 0.25), ("blend", 0.7), ("blend", 0.5), ("realign", 4)),
}
QUICK: tuple[Perturbation, ...] = tuple(c for c in PERTURBATIONS if (c.kind, c.amount) in _QUICK)


def perturb(
    image: ImageArray, how: Perturbation, face: slice, partner: ImageArray, rng: np.random.Generator
) -> ImageArray:
    """A changed copy of ``image`` (S, S, 3) uint8 RGB, whose aligned face fills the rows and columns ``face``.

    ``partner`` (112, 112, 3) is the aligned face that a blend mixes in. ``rng`` places the square that occludes, and
    divides another alignment into shift, zoom and rotation.
    """
    side = face.stop - face.start
    unit = side / 112
    if how.kind == "re-encode":
        return _re_encoded(image, int(how.amount))
    if how.kind == "blur":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), how.amount * unit), np.uint8)
    if how.kind == "downsample":
        small = max(1, round(image.shape[0] * how.amount / side))
        reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, image.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    if how.kind == "flip":
        return np.ascontiguousarray(image[:, ::-1])
    if how.kind == "rotate":
        centre = (image.shape[1] / 2, image.shape[0] / 2)
        turn = cv2.getRotationMatrix2D(centre, how.amount, 1.0)
        turned = cv2.warpAffine(image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        return np.asarray(turned, np.uint8)
    if how.kind == "colour":
        return _recoloured(image, how.amount)
    if how.kind == "occlude":
        return _occluded(image, how.amount, face, rng)
    if how.kind == "realign":
        return _realigned(image, how.amount, face, rng)
    return _blended(image, how.amount, face, partner)


def _realigned(image: ImageArray, amount: float, face: slice, rng: np.random.Generator) -> ImageArray:
    """The image as another detector would align it: the root mean square displacement of the face is ``amount``."""
    side = face.stop - face.start
    # A zoom or a rotation moves a square by this root mean square for each unit of its logarithm or of its radians.
    radius = side / np.sqrt(6)
    part = rng.normal(size=4)
    right, down, zoom, turn = part / np.linalg.norm(part) * amount * side / 112 / [1, 1, radius, radius]
    centre = (face.start + face.stop - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), float(np.degrees(turn)), float(np.exp(zoom)))
    matrix[:, 2] += right, down
    moved = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _re_encoded(image: ImageArray, quality: int) -> ImageArray:
    good, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"an image of shape {image.shape} could not be encoded")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _recoloured(image: ImageArray, amount: float) -> ImageArray:
    """A mixture with a grey image of half the contrast and three fifths of the brightness."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    dull = 0.6 * (0.5 * grey + 0.5 * grey.mean())
    return np.asarray(np.clip(np.round((1 - amount) * image + amount * dull), 0, 255), np.uint8)


def _occluded(image: ImageArray, part: float, face: slice, rng: np.random.Generator) -> ImageArray:
    """A grey square over a share ``part`` of the face, at a random position."""
    hidden = image.copy()
    side = face.stop - face.start
    edge = max(1, round(side * np.sqrt(part)))
    top, left = face.start + rng.integers(0, side - edge + 1, 2)
    hidden[top : top + edge, left : left + edge] = 128
    return hidden


def _blended(image: ImageArray, weight: float, face: slice, partner: ImageArray) -> ImageArray:
    mixed = image.copy()
    side = face.stop - face.start
    if partner.shape[0] != side:
        partner = np.asarray(cv2.resize(partner, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    mixed[face, face] = np.round(weight * image[face, face] + (1 - weight) * partner).astype(np.uint8)
    return mixed
