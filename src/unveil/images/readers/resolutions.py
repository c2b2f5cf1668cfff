"""Sets that hold each image in several resolutions, of which the highest is read: whether the lower ones are others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from unveil.errors import ImageError, SourceError
from unveil.images.decode import MIN_SIDE, decode_rgb

# Images that are compared in each lower resolution, evenly over the set.
SAMPLED = 16
# Mean difference of two images of the same size, in grey levels of 255: reductions differ by less, people by more.
MAX_DIFFERENCE = 16
# Pixels by which the sides of a reduced image may differ from what the resolutions state.
ROUNDING = 1


class Lower(NamedTuple):
    """A sample of the images of a lower resolution beside those of the highest.

    So many were ``compared``. ``fitting`` have the sides that the two resolutions state, and ``same`` show the same.
    """

    compared: int
    fitting: int
    same: int

    @property
    def is_one(self) -> bool:
        """Whether the names of the images state resolutions at all; others may be people, or parts of a set."""
        return self.fitting > 0 or self.compared == 0

    def note(self, lower: str, highest: str) -> str | None:
        """A note on images that are others; SourceError if most are. ``lower`` and ``highest`` name the two."""
        other = self.compared - self.same
        if 2 * other > self.compared:
            raise SourceError(
                f"{lower}: expected the images of {highest} in fewer pixels, found others, or none, in {other} of "
                f"{self.compared} that were compared. Move them into a file of their own, in another folder"
            )
        if not other:
            return None
        return f"not read: {lower}, in which {other} of {self.compared} are other images than in {highest}"


def compared_with(n: int, high: Callable[[int], bytes], low: Callable[[int], bytes], scale: float) -> Lower:
    """A sample of images 0 to ``n`` in the lower resolution, whose sides are ``scale`` times those of the highest.

    ``high`` and ``low`` give the file of an image. Images that are too small for a face are not compared.
    """
    compared = fitting = same = 0
    for k in np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(int)).tolist():
        large, small = _pixels(high, k), _pixels(low, k)
        if large is None and small is None:
            continue
        if small is None and large is not None and min(large.shape[:2]) * scale < MIN_SIDE:
            continue
        compared += 1
        if large is None or small is None:
            continue
        height, width = small.shape[:2]
        if max(abs(height - scale * large.shape[0]), abs(width - scale * large.shape[1])) > ROUNDING:
            continue
        fitting += 1
        reduced = np.asarray(Image.fromarray(large).resize((width, height), Image.Resampling.BOX), np.float32)
        same += bool(np.abs(reduced - small).mean() <= MAX_DIFFERENCE)
    return Lower(compared, fitting, same)


def _pixels(read: Callable[[int], bytes], k: int) -> npt.NDArray[np.uint8] | None:
    try:
        return decode_rgb(read(k))
    except ImageError:
        return None
