"""Sets that hold each image in several resolutions, of which the highest is read: whether the lower ones are others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from unveil.errors import ImageError
from unveil.images.decode import MIN_SIDE, decode_rgb

# Images that are compared in each lower resolution, evenly over the set.
SAMPLED = 16
# Mean difference of two images of the same size, in grey levels of 255: reductions differ by less, people by more.
MAX_DIFFERENCE = 16


def other_images(n: int, high: Callable[[int], bytes], low: Callable[[int], bytes]) -> tuple[int, int]:
    """How many of a sample of images 0 to ``n`` are others in the lower resolution, and how many were compared.

    ``high`` and ``low`` give the file of an image. Damaged ones, and those too small for a face, are not compared.
    """
    found = compared = 0
    for k in np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(int)).tolist():
        try:
            large, small = decode_rgb(high(k)), decode_rgb(low(k))
        except ImageError:
            continue
        if min(small.shape[:2]) < MIN_SIDE:
            continue
        compared += 1
        height, width = small.shape[:2]
        reduced = np.asarray(Image.fromarray(large).resize((width, height), Image.Resampling.BOX), np.float32)
        found += bool(np.abs(reduced - small).mean() > MAX_DIFFERENCE)
    return found, compared
