"""Pictures that come one by one, seen as an audit saw its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.channels import Detector, FaceImage
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import InputError
from unveil.images import decode_rgb
from unveil.images.source import MAX_FILE_BYTES, read_image

# A picture: pixels (H, W, 3) uint8 RGB, the bytes of a picture file, or its path.
ImageArray = npt.NDArray[np.uint8] | bytes | str | Path


def face_images(
    images: Sequence[ImageArray], alignment: ImageAlignment | None, detector: Detector
) -> list[Callable[[], FaceImage]]:
    """How each picture is looked at when its turn comes; without an ``alignment`` each tells whether it is an aligned
    crop. InputError for pixels of another shape or type."""
    for image in images:
        if isinstance(image, np.ndarray) and not _is_image(image):
            raise InputError(f"pixels should be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return [partial(_face_image, image, alignment, detector) for image in images]


def _is_image(pixels: npt.NDArray[np.uint8]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and 0 not in pixels.shape


def _face_image(image: ImageArray, alignment: ImageAlignment | None, detector: Detector) -> FaceImage:
    if isinstance(image, (str, Path)):
        image = read_image(image, MAX_FILE_BYTES)
    if isinstance(image, bytes) and alignment is not None:
        return ImagePreprocessor([], alignment, detector).decode(image)
    pixels = decode_rgb(image) if isinstance(image, bytes) else image
    height, width = pixels.shape[:2]
    if alignment is None:
        return FaceImage(pixels, height == width and detect_aligned_crops([pixels])[0], detector)
    return FaceImage(pixels, alignment.covers(width, height), detector)
