"""A decoded image, and the face in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unveil.errors import ImageError
from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE, ImageArray, resize, similarity, warp
from unveil.faces.detectors import Detector, DlibDetector, Face, faces_in_crops, find_face
from unveil.images import Remark

# Image pixels of a side of the aligned crop. A smaller face is too coarse for recognition.
MIN_FACE = 32
# Standard deviation of the grey levels of an aligned crop. Photographs of faces have at least 20.
MIN_CONTRAST = 6
# Pixels of a side that are looked at for it.
CONTRAST_SIDE = 56


class FaceImage:
    """Pixels (H, W, 3) uint8 RGB, and whether they are an aligned crop. The face is detected once, at the first use.

    ``pixels`` may be a reduced version of the image. ``decode_full`` then gives the image at full size; it is called
    only if the face would have to be enlarged. ``remarks`` are those of `decode_scaled`.
    """

    def __init__(
        self,
        pixels: ImageArray,
        aligned: bool,
        detector: Detector | None = None,
        *,
        decode_full: Callable[[], ImageArray] | None = None,
        size: tuple[int, int] | None = None,
        remarks: tuple[Remark, ...] = (),
    ) -> None:
        self.pixels, self.aligned = pixels, aligned
        self.size = size or (pixels.shape[1], pixels.shape[0])  # width and height at full size
        self.n_faces = 1
        self.remarks = remarks
        self._detector = detector or DlibDetector()
        self._decode_full = decode_full
        self._face: Face | ImageError | None = None
        self._aligned_crop: ImageArray | None = None

    @property
    def face(self) -> Face:
        """The face of the image. Raises ImageError if none is detected, or if it is too small."""
        if self._face is None:
            self._face = self._find_face()
        if isinstance(self._face, ImageError):
            # A copy: the traceback of this one would hold the pixels until the garbage collector runs.
            raise self._face.copy()
        return self._face

    def detect(self) -> None:
        """Detects the face now, unless the image is an aligned crop. No error is raised before the face is used."""
        if not self.aligned and self._face is None:
            self._face = self._find_face()

    def _find_face(self) -> Face | ImageError:
        if self.aligned:
            self._require_square()
            return faces_in_crops([self.pixels])[0]
        found = find_face(self.pixels, self._detector)
        if (found is None or found.face.size < TEMPLATE_SIZE) and self._decode_full is not None:
            decode_full, self._decode_full = self._decode_full, None
            # Given free before, so that both are never held at once.
            self.pixels = np.empty((0, 0, 3), np.uint8)
            try:
                self.pixels = decode_full()
            except ImageError as error:
                return error.copy()
            found = find_face(self.pixels, self._detector)
        if found is None:
            return ImageError("detect", "no face found", "use --aligned if these images are aligned face crops")
        self.n_faces = found.n_faces
        if found.face.size < MIN_FACE:
            return ImageError(
                "detect",
                "face too small",
                f"{found.face.size:.0f} pixels across its crop, at least {MIN_FACE} are needed",
            )
        return found.face

    @property
    def aligned_crop(self) -> ImageArray:
        """The face in the ArcFace template, (112, 112, 3) uint8. An aligned crop is only resized.

        Raises ImageError if no face is detected.
        """
        if self._aligned_crop is None:
            self._aligned_crop = self.crop_with_margin(0)
        return self._aligned_crop

    def crop_with_margin(self, margin: int) -> ImageArray:
        """The face in the ArcFace template with ``margin`` pixels on each side. An aligned crop gets no margin."""
        if self.aligned:
            self._require_square()
            return resize(self.pixels, TEMPLATE_SIZE)
        face = self.face
        return warp(self.pixels, similarity(face.landmarks, face.template + margin), TEMPLATE_SIZE + 2 * margin)

    def check_contrast(self) -> None:
        """Raises ImageError for an aligned crop that can show no face: none is looked for in it."""
        if not self.aligned:
            return
        step = max(1, self.pixels.shape[0] // CONTRAST_SIDE)
        contrast = float(self.pixels[::step, ::step].mean(2).std())
        if contrast < MIN_CONTRAST:
            raise ImageError(
                "detect",
                "too little contrast",
                f"grey levels vary by {contrast:.1f} of 255, at least {MIN_CONTRAST} are needed; files of 16 bits "
                "should use all of them",
            )

    def _require_square(self) -> None:
        height, width = self.pixels.shape[:2]
        if height != width:
            raise ImageError("detect", "not an aligned crop", f"{width} x {height} is not square; see --aligned")


def locate_faces(images: Sequence[FaceImage]) -> None:
    """Locates the faces of all aligned crops among images at once, which takes half the time of one after another."""
    crops = [i for i in images if i.aligned and i._face is None and i.pixels.shape[0] == i.pixels.shape[1]]
    for image, face in zip(crops, faces_in_crops([image.pixels for image in crops]), strict=True):
        image._face = face


def realigned_face(crop: ImageArray) -> ImageArray:
    """An aligned crop (S, S, 3), aligned again to (112, 112, 3) by landmarks located in it.

    This removes a small rotation, shift or zoom.
    """
    crop = resize(crop, TEMPLATE_SIZE)
    return warp(crop, similarity(faces_in_crops([crop])[0].landmarks, DLIB_IN_TEMPLATE), TEMPLATE_SIZE)
