"""Whether the pictures of a source are face crops aligned already, so that they are not detected again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unveil.channels.base import ImageArray
from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE
from unveil.faces.detectors import DlibDetector, find_face, with_border

# An aligned set has its landmarks at the template's places: on the whole (the median over pictures) and one by one.
# In 112-pixel units; aligned LFW measures 0.9 and 2.8, pictures framed like FFHQ 4.0 and 4.2.
LARGEST_BIAS, LARGEST_SPREAD = 2.0, 5.0


@dataclass(frozen=True)
class ImageAlignment:
    """Which pictures of a source are aligned crops: ``sides`` of the square ones, None for all; and why."""

    sides: frozenset[int] | None
    reason: str

    @classmethod
    def from_key(cls, key: str, reason: str) -> ImageAlignment:
        """The decision that `key` tells."""
        sides = None if key == "all" else frozenset(int(side) for side in key.split(",") if side.isdigit())
        return cls(sides, reason)

    def covers(self, width: int, height: int) -> bool:
        """Whether a picture of this size is taken as an aligned crop."""
        return self.sides is None or (height == width and height in self.sides)

    @property
    def description(self) -> str:
        """In words."""
        if self.sides is None:
            return "aligned crops"
        if not self.sides:
            return "to be detected and aligned"
        sizes = " and ".join(f"{side} x {side}" for side in sorted(self.sides))
        return f"aligned crops ({sizes} pixels; any other size would be detected)"

    @property
    def key(self) -> str:
        """The decision alone, for the recipe of a store."""
        return "all" if self.sides is None else ",".join(str(side) for side in sorted(self.sides)) or "none"


def detect_aligned_crops(images: Sequence[ImageArray]) -> tuple[bool, str]:
    """Whether square pictures of one size (S, S, 3) are crops aligned to the ArcFace template, and why.

    Looks for the face with a border added around each picture, and compares where its landmarks lie with the template.
    """
    offsets = []
    for image in images:
        side = image.shape[0]
        border = side // 4
        # By dlib's detector, whichever an audit uses: the limits are of its landmarks.
        found = find_face(with_border(image, border), DlibDetector())
        if found is not None:
            offsets.append((found.face.landmarks - border) * (TEMPLATE_SIZE / side) - DLIB_IN_TEMPLATE)
    if len(offsets) < max(1, len(images) / 2):
        return False, f"a face was found in {len(offsets)} of {len(images)} sampled"
    apart = np.array(offsets)
    bias = float(np.sqrt((np.median(apart, axis=0) ** 2).sum(1).mean()))
    spread = float(np.median(np.sqrt((apart**2).sum(2).mean(1))))
    return (
        bias <= LARGEST_BIAS and spread <= LARGEST_SPREAD,
        f"landmarks of {len(offsets)} sampled lie {bias:.1f} px off the ArcFace template on the whole and "
        f"{spread:.1f} px one by one; {LARGEST_BIAS:g} and {LARGEST_SPREAD:g} px of {TEMPLATE_SIZE} are allowed",
    )
