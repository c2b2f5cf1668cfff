"""Single images from a user, prepared as the audit prepared its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unveil.channels import Detector, FaceImage
from unveil.channels.alignment import ImageAlignment, detect_aligned_crops
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import ImageError, InputError
from unveil.images import Remark, decode_rgb, pillow_rgb
from unveil.images.source import MAX_FILE_BYTES, read_image

# What a user may pass as an image: pixels (H, W, 3) uint8 RGB, the bytes of an image file, or its path.
ImageArray = npt.NDArray[np.uint8] | bytes | str | Path


def checked_images(images: Iterable[ImageArray | Image.Image]) -> list[ImageArray]:
    """The images of a list, a generator or an array (N, H, W, 3), with images of Pillow as pixels.

    Raises InputError for one image instead of several, for pixels of another shape or type, and for anything else.
    """
    if isinstance(images, (str, bytes, bytearray, Path, Image.Image)) or not isinstance(images, Iterable):
        raise InputError(
            f"expected a list of images, found one {type(images).__name__}. Put a single image into a list: [image]"
        )
    return [_checked(image) for image in images]


def _checked(image: object) -> ImageArray:
    if isinstance(image, Image.Image):
        try:
            pixels = pillow_rgb(image)
        except ImageError as error:
            raise InputError(f"expected an image of Pillow that can be decoded, found: {error}") from None
        if pixels is None:
            raise InputError(
                f"expected an image of Pillow with 8 bits a channel, found mode {image.mode}. Convert it to RGB"
            )
        return pixels
    if isinstance(image, np.ndarray):
        if not _is_image(image):
            hint = "Put the channels last: array.transpose(1, 2, 0)" if image.shape[:1] == (3,) else "Convert them"
            raise InputError(
                f"expected pixels of shape (H, W, 3), uint8, RGB, found {image.shape} {image.dtype}. {hint}"
            )
        return image
    if isinstance(image, (bytes, str, Path)):
        return image
    raise InputError(
        f"expected pixels (H, W, 3) uint8 RGB, an image of Pillow, the bytes of an image file or its path, found "
        f"{type(image).__name__}. Convert it, for example with numpy.asarray"
    )


def face_images(
    images: Sequence[ImageArray], alignment: ImageAlignment | None, detector: Detector
) -> list[Callable[[], FaceImage]]:
    """A function per image that decodes it and finds its face.

    Without an ``alignment`` each image is tested for being an aligned crop. Raises InputError as `checked_images`.
    """
    return [partial(_face_image, image, alignment, detector) for image in checked_images(images)]


def file_bytes(image: ImageArray) -> bytes | None:
    """The bytes of an image file. None for pixels, and for a file that is not readable."""
    if isinstance(image, np.ndarray):
        return None
    try:
        return image if isinstance(image, bytes) else read_image(image, MAX_FILE_BYTES)
    except ImageError:
        return None


# What a file may show to others than the guard.
_HIDDEN = {
    Remark.IMAGES_BEHIND: "several images in a file",
    Remark.BYTES_BEHIND: "bytes behind the image",
    Remark.TRANSPARENT: "transparent pixels",
}


def _is_image(pixels: npt.NDArray[Any]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and 0 not in pixels.shape


def _face_image(image: ImageArray, alignment: ImageAlignment | None, detector: Detector) -> FaceImage:
    if isinstance(image, (str, Path)):
        image = read_image(image, MAX_FILE_BYTES)
    if isinstance(image, bytes) and alignment is not None:
        found = ImagePreprocessor([], alignment, detector).decode(image)
        # The whole file would pass.
        hidden = next((remark for remark in found.remarks if remark != Remark.TURNED), None)
        if hidden is not None:
            raise ImageError("decode", _HIDDEN[hidden], "save the image anew, as an opaque file of its own")
        return found
    # Detectors need contiguous memory, and views such as `bgr[..., ::-1]` are not contiguous.
    pixels = decode_rgb(image) if isinstance(image, bytes) else np.ascontiguousarray(image)
    height, width = pixels.shape[:2]
    if alignment is None:
        return FaceImage(pixels, height == width and detect_aligned_crops([pixels])[0], detector)
    return FaceImage(pixels, alignment.covers(width, height), detector)
