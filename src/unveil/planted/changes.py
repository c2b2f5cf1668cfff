"""Changes of a face picture, by kind and strength. Sizes are in pixels of a 112-pixel aligned face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Kind = Literal["re-encode", "blur", "downsample", "flip", "rotate", "colour", "occlude", "blend"]


@dataclass(frozen=True)
class Change:
    """One kind at one strength: ``amount`` in the unit that ``told`` names."""

    kind: Kind
    amount: float
    told: str


# Each kind from its weakest to its strongest.
CHANGES: tuple[Change, ...] = (
    *(Change("re-encode", q, f"quality {q}") for q in (60, 30, 15, 5)),
    *(Change("blur", s, f"{s} px") for s in (1, 2, 3, 4)),
    *(Change("downsample", s, f"to {s} px") for s in (56, 37, 28, 19)),
    Change("flip", 1, "mirrored"),
    *(Change("rotate", d, f"{d}\N{DEGREE SIGN}") for d in (5, 10, 20)),
    *(Change("colour", c, f"{c:.0%} faded") for c in (0.3, 0.6, 0.9)),
    *(Change("occlude", f, f"{f:.0%} hidden") for f in (0.1, 0.25, 0.4)),
    *(Change("blend", w, f"{w:.0%} person") for w in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
)
_QUICK = {("re-encode", 30), ("blur", 2), ("flip", 1), ("occlude", 0.25), ("blend", 0.7), ("blend", 0.5)}
QUICK: tuple[Change, ...] = tuple(c for c in CHANGES if (c.kind, c.amount) in _QUICK)


def change(picture: Picture, how: Change, face: slice, partner: Picture, rng: np.random.Generator) -> Picture:
    """A changed copy of ``picture`` (S, S, 3), whose aligned face fills rows and columns ``face``.

    ``partner`` (112, 112, 3) is the aligned face of another picture, which blends mix in; ``rng`` places what occludes.
    """
    side = face.stop - face.start
    unit = side / 112
    if how.kind == "re-encode":
        return _re_encoded(picture, int(how.amount))
    if how.kind == "blur":
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), how.amount * unit), np.uint8)
    if how.kind == "downsample":
        small = max(1, round(picture.shape[0] * how.amount / side))
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    if how.kind == "flip":
        return np.ascontiguousarray(picture[:, ::-1])
    if how.kind == "rotate":
        centre = (picture.shape[1] / 2, picture.shape[0] / 2)
        turn = cv2.getRotationMatrix2D(centre, how.amount, 1.0)
        turned = cv2.warpAffine(picture, turn, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        return np.asarray(turned, np.uint8)
    if how.kind == "colour":
        return _recoloured(picture, how.amount)
    if how.kind == "occlude":
        return _occluded(picture, how.amount, face, rng)
    return _blended(picture, how.amount, face, partner)


def _re_encoded(picture: Picture, quality: int) -> Picture:
    good, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"a picture {picture.shape} could not be encoded")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _recoloured(picture: Picture, amount: float) -> Picture:
    """Towards a picture without colour, with half its contrast and three fifths of its brightness."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    dull = 0.6 * (0.5 * grey + 0.5 * grey.mean())
    return np.asarray(np.clip(np.round((1 - amount) * picture + amount * dull), 0, 255), np.uint8)


def _occluded(picture: Picture, part: float, face: slice, rng: np.random.Generator) -> Picture:
    """A grey square over ``part`` of the face, anywhere on it."""
    hidden = picture.copy()
    side = face.stop - face.start
    edge = max(1, round(side * np.sqrt(part)))
    top, left = face.start + rng.integers(0, side - edge + 1, 2)
    hidden[top : top + edge, left : left + edge] = 128
    return hidden


def _blended(picture: Picture, weight: float, face: slice, partner: Picture) -> Picture:
    mixed = picture.copy()
    side = face.stop - face.start
    if partner.shape[0] != side:
        partner = np.asarray(cv2.resize(partner, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    mixed[face, face] = np.round(weight * picture[face, face] + (1 - weight) * partner).astype(np.uint8)
    return mixed
