"""A picture on its way to the channels."""

from __future__ import annotations

from collections.abc import Callable

from unveil.errors import ImageError
from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE, ImageArray, resize, similarity, warp
from unveil.faces.detectors import Detector, DlibDetector, Face, face_in_crop, find_face

# A face that is smaller than this along the side of its aligned crop is too coarse to tell people apart.
MIN_FACE = 32


class FaceImage:
    """Pixels (H, W, 3) uint8 RGB and whether they are an aligned crop. The face is looked for once, whoever asks.

    A picture may come at reduced scale: ``whole`` then gives all its pixels, which are asked for only when the face in
    it would have to be enlarged.
    """

    def __init__(
        self,
        image: ImageArray,
        aligned: bool,
        detector: Detector | None = None,
        *,
        whole: Callable[[], ImageArray] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.image, self.aligned = image, aligned
        self.size = size or (image.shape[1], image.shape[0])  # width and height of the whole picture
        self.n_faces = 1
        self._detector = detector or DlibDetector()
        self._whole = whole
        self._face: Face | ImageError | None = None
        self._template: ImageArray | None = None

    @property
    def face(self) -> Face:
        """The face that the picture is of; PictureError when none is found, or one too small."""
        if self._face is None:
            self._face = self._find()
        if isinstance(self._face, ImageError):
            raise self._face
        return self._face

    def _find(self) -> Face | ImageError:
        if self.aligned:
            self._require_square()
            return face_in_crop(self.image)
        found = find_face(self.image, self._detector)
        if (found is None or found.face.size < TEMPLATE_SIZE) and self._whole is not None:
            self.image, self._whole = self._whole(), None
            found = find_face(self.image, self._detector)
        if found is None:
            return ImageError("detect", "no face found", "see --aligned if these pictures are crops of faces already")
        self.n_faces = found.n_faces
        if found.face.size < MIN_FACE:
            return ImageError(
                "detect",
                "face too small",
                f"{found.face.size:.0f} pixels across its crop, at least {MIN_FACE} are used",
            )
        return found.face

    @property
    def aligned_crop(self) -> ImageArray:
        """The face in the ArcFace template, 112 pixels; PictureError when none is found. A crop is scaled only."""
        if self._template is None:
            self._template = self.crop_with_margin(0)
        return self._template

    def crop_with_margin(self, margin: int) -> ImageArray:
        """`aligned_crop` with a ``margin`` on each side. An aligned crop holds none, and is scaled only."""
        if self.aligned:
            self._require_square()
            return resize(self.image, TEMPLATE_SIZE)
        face = self.face
        return warp(self.image, similarity(face.landmarks, face.template + margin), TEMPLATE_SIZE + 2 * margin)

    def _require_square(self) -> None:
        height, width = self.image.shape[:2]
        if height != width:
            raise ImageError("detect", "not an aligned crop", f"{width} x {height} is not square; see --aligned")


def realigned_face(crop: ImageArray) -> ImageArray:
    """An aligned crop (S, S, 3) brought to the ArcFace template once more, by landmarks found anew in it: undoes a
    small rotation, shift or zoom."""
    crop = resize(crop, TEMPLATE_SIZE)
    return warp(crop, similarity(face_in_crop(crop).landmarks, DLIB_IN_TEMPLATE), TEMPLATE_SIZE)
