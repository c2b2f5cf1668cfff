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
from unveil.images import Remark, decode_rgb, is_transparent, pillow_rgb
from unveil.images.source import MAX_FILE_BYTES, read_image

# What a user may pass as an image: pixels (H, W, 3) uint8 RGB, the bytes of an image file, or its path.
ImageArray = npt.NDArray[np.uint8] | bytes | str | Path


def checked_images(images: Iterable[ImageArray | Image.Image]) -> list[ImageArray]:
    """The images of a list, a generator or an array (N, H, W, 3), with images of Pillow as pixels.

    Raises InputError for one image instead of several, for pixels of another shape or type, and for anything else.
    """
    return [_checked(image) for image in listed(images)]


def listed(images: Iterable[ImageArray | Image.Image]) -> list[ImageArray | Image.Image]:
    """The images of a list, a generator or an array. Raises InputError for one image instead of several."""
    if isinstance(images, (str, bytes, bytearray, Path, Image.Image)) or not isinstance(images, Iterable):
        raise InputError(
            f"expected a list of images, found one {type(images).__name__}. Put a single image into a list: [image]"
        )
    return list(images)


def hidden_in(image: ImageArray | Image.Image) -> Remark | None:
    """What an image of Pillow, which can be decoded, shows to others beside its pixels when it is saved."""
    if not isinstance(image, Image.Image):
        return None
    if getattr(image, "is_animated", False):
        return Remark.IMAGES_BEHIND
    return Remark.TRANSPARENT if is_transparent(image) else None


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
    images: Sequence[ImageArray],
    alignment: ImageAlignment | None,
    detector: Detector,
    hidden: Sequence[Remark | None] | None = None,
) -> list[Callable[[], FaceImage]]:
    """A function per image that decodes it and finds its face. It raises ImageError where something is ``hidden``.

    Without an ``alignment`` each image is tested for being an aligned crop. Raises InputError as `checked_images`.
    """
    checked = checked_images(images)
    known = [None] * len(checked) if hidden is None else hidden
    return [partial(_face_image, *one, alignment, detector) for one in zip(checked, known, strict=True)]


def file_bytes(image: ImageArray) -> bytes | None:
    """The bytes of an image file. None for pixels, and for a file that is not readable."""
    if isinstance(image, np.ndarray):
        return None
    try:
        return image if isinstance(image, bytes) else read_image(image, MAX_FILE_BYTES)
    except ImageError:
        return None


# What a file may show to others than the guard, but for a turn.
_HIDDEN = {
    Remark.IMAGES_BEHIND: "several images in a file",
    Remark.BYTES_BEHIND: "bytes behind the image",
    Remark.TRANSPARENT: "transparent pixels",
    Remark.NOT_TURNED: "an orientation that viewers ignore",
    Remark.EXTRA_CHANNEL: "a channel beside the colours",
    Remark.GAMMA: "another brightness in viewers",
    Remark.COLOURS: "other colours in viewers",
}


def _refused(hidden: Remark) -> ImageError:
    return ImageError("decode", _HIDDEN[hidden], "save the image anew, as an opaque file of its own")


def _is_image(pixels: npt.NDArray[Any]) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and 0 not in pixels.shape


def _face_image(
    image: ImageArray, hidden: Remark | None, alignment: ImageAlignment | None, detector: Detector
) -> FaceImage:
    if hidden is not None:
        raise _refused(hidden)
    if isinstance(image, (str, Path)):
        image = read_image(image, MAX_FILE_BYTES)
    if isinstance(image, bytes) and alignment is not None:
        found = ImagePreprocessor([], alignment, detector).decode(image)
        # The whole file would pass.
        hidden = next((remark for remark in found.remarks if remark != Remark.TURNED), None)
        if hidden is not None:
            raise _refused(hidden)
        return found
    # Detectors need contiguous memory, and views such as `bgr[..., ::-1]` are not contiguous.
    pixels = decode_rgb(image) if isinstance(image, bytes) else np.ascontiguousarray(image)
    height, width = pixels.shape[:2]
    if alignment is None:
        return FaceImage(pixels, height == width and detect_aligned_crops([pixels])[0], detector)
    return FaceImage(pixels, alignment.covers(width, height), detector)
