"""Whether the images of a source are aligned face crops, in which no face has to be detected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE, ImageArray, resize
from unveil.faces.detectors import DlibDetector, find_face, with_border

# The largest distance of landmarks from the template in an aligned set, in pixels of a 112-pixel crop: of the median
# over images (bias) and of single images (spread). Aligned LFW has 0.9 and 2.8, images framed like FFHQ 4.0 and 4.2.
LARGEST_BIAS, LARGEST_SPREAD = 2.0, 5.0
# Larger images are reduced before they get a border.
MAX_SIDE = 4096


@dataclass(frozen=True)
class ImageAlignment:
    """Which images of a source are aligned crops: square ones with a side in ``sides`` (None: all images); and why."""

    sides: frozenset[int] | None
    reason: str

    @classmethod
    def from_key(cls, key: str, reason: str) -> ImageAlignment:
        """The alignment whose `key` this is."""
        sides = None if key == "all" else frozenset(int(side) for side in key.split(",") if side.isdigit())
        return cls(sides, reason)

    def covers(self, width: int, height: int) -> bool:
        """Whether an image of this size is treated as an aligned crop."""
        return self.sides is None or (height == width and height in self.sides)

    @property
    def description(self) -> str:
        """The alignment as part of a sentence."""
        if self.sides is None:
            return "aligned crops"
        if not self.sides:
            return "faces are detected and aligned"
        sizes = " and ".join(f"{side} x {side}" for side in sorted(self.sides))
        return f"aligned crops ({sizes} pixels; faces are detected in images of other sizes)"

    @property
    def warning(self) -> str:
        """What is not looked at in single images, as a sentence; empty if faces are looked for in other sizes."""
        if self.sides is not None:
            return ""
        return "Images of every size are compared as aligned crops: no face is looked for in whole photographs."

    @property
    def key(self) -> str:
        """The alignment without its reason; part of the recipe of a store."""
        return "all" if self.sides is None else ",".join(str(side) for side in sorted(self.sides)) or "none"


def detect_aligned_crops(images: Iterable[ImageArray]) -> tuple[bool, str]:
    """Whether square images of one size (S, S, 3) uint8 RGB are crops aligned to the ArcFace template, and why.

    Detects the face in each image with a border, and compares its landmarks with the template. Of a generator, one
    image is held at a time.
    """
    offsets = []
    n = 0
    for image in images:
        n += 1
        side = min(image.shape[0], MAX_SIDE)
        image = resize(image, side)
        border = side // 4
        # Always dlib's detector: the limits above were measured with its landmarks.
        found = find_face(with_border(image, border), DlibDetector())
        if found is not None:
            offsets.append((found.face.landmarks - border) * (TEMPLATE_SIZE / side) - DLIB_IN_TEMPLATE)
    if len(offsets) < max(1, n / 2):
        return False, f"a face was detected in {len(offsets)} of {n} sampled images"
    distances = np.array(offsets)
    bias = float(np.sqrt((np.median(distances, axis=0) ** 2).sum(1).mean()))
    spread = float(np.median(np.sqrt((distances**2).sum(2).mean(1))))
    return (
        bias <= LARGEST_BIAS and spread <= LARGEST_SPREAD,
        f"landmarks of {len(offsets)} sampled images are {bias:.1f} px from the ArcFace template on average and "
        f"{spread:.1f} px in single images; at most {LARGEST_BIAS:g} and {LARGEST_SPREAD:g} px of {TEMPLATE_SIZE} "
        "are allowed",
    )
