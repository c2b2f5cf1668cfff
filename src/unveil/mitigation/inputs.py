"""Single images from a user, prepared as the audit prepared its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.channels import Detector, FaceImage
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import ImageError, InputError
from unveil.images import decode_rgb
from unveil.images.source import MAX_FILE_BYTES, read_image

# What a user may pass as an image: pixels (H, W, 3) uint8 RGB, the bytes of an image file, or its path.
ImageArray = npt.NDArray[np.uint8] | bytes | str | Path


def face_images(
    images: Sequence[ImageArray], alignment: ImageAlignment | None, detector: Detector
) -> list[Callable[[], FaceImage]]:
    """A function per image that decodes it and finds its face.

    Without an ``alignment`` each image is tested for being an aligned crop. Raises InputError for pixels of another
    shape or type.
    """
    for image in images:
        if isinstance(image, np.ndarray) and not _is_image(image):
            raise InputError(f"expected pixels of shape (H, W, 3), uint8, RGB, got {image.shape} {image.dtype}")
    return [partial(_face_image, image, alignment, detector) for image in images]


def file_digest(image: ImageArray) -> bytes | None:
    """The SHA-256 of an image file. None for pixels, and for a file that is not readable."""
    if isinstance(image, np.ndarray):
        return None
    try:
        data = image if isinstance(image, bytes) else read_image(image, MAX_FILE_BYTES)
    except ImageError:
        return None
    return hashlib.sha256(data).digest()


def _is_image(pixels: npt.NDArray[np.uint8]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and 0 not in pixels.shape


def _face_image(image: ImageArray, alignment: ImageAlignment | None, detector: Detector) -> FaceImage:
    if isinstance(image, (str, Path)):
        image = read_image(image, MAX_FILE_BYTES)
    if isinstance(image, bytes) and alignment is not None:
        return ImagePreprocessor([], alignment, detector).decode(image)
    # Detectors need contiguous memory, and views such as `bgr[..., ::-1]` are not contiguous.
    pixels = decode_rgb(image) if isinstance(image, bytes) else np.ascontiguousarray(image)
    height, width = pixels.shape[:2]
    if alignment is None:
        return FaceImage(pixels, height == width and detect_aligned_crops([pixels])[0], detector)
    return FaceImage(pixels, alignment.covers(width, height), detector)
