"""A picture on its way to the channels."""

from __future__ import annotations

from unveil.errors import PictureError
from unveil.faces.align import DLIB_IN_TEMPLATE, TEMPLATE_SIZE, Picture, resize, similarity, warp
from unveil.faces.landmarks import Face, face_in_crop, find_face


class Shot:
    """Pixels (H, W, 3) uint8 RGB and whether they are an aligned crop. The face is looked for once, whoever asks."""

    def __init__(self, picture: Picture, aligned: bool) -> None:
        self.picture, self.aligned = picture, aligned
        self._face: Face | PictureError | None = None
        self._template: Picture | None = None

    @property
    def face(self) -> Face:
        """The face that the picture is of; PictureError when none is found."""
        if self._face is None:
            self._face = self._find()
        if isinstance(self._face, PictureError):
            raise self._face
        return self._face

    def _find(self) -> Face | PictureError:
        if self.aligned:
            self._require_square()
            return face_in_crop(self.picture)
        face = find_face(self.picture)
        if face is None:
            return PictureError("detect", "no face found", "see --aligned if these pictures are crops of faces already")
        return face

    @property
    def template(self) -> Picture:
        """The face in the ArcFace template, 112 pixels; PictureError when none is found. A crop is scaled only."""
        if self._template is None:
            self._template = self.framed(0)
        return self._template

    def framed(self, margin: int) -> Picture:
        """`template` with a ``margin`` on each side. An aligned crop holds none, and is scaled only."""
        if self.aligned:
            self._require_square()
            return resize(self.picture, TEMPLATE_SIZE)
        return warp(
            self.picture, similarity(self.face.landmarks, DLIB_IN_TEMPLATE + margin), TEMPLATE_SIZE + 2 * margin
        )

    def _require_square(self) -> None:
        height, width = self.picture.shape[:2]
        if height != width:
            raise PictureError("detect", "not an aligned crop", f"{width} x {height} is not square; see --aligned")


def realigned_face(crop: Picture) -> Picture:
    """An aligned crop (S, S, 3) brought to the ArcFace template once more, by landmarks found anew in it: undoes a
    small rotation, shift or zoom."""
    crop = resize(crop, TEMPLATE_SIZE)
    return warp(crop, similarity(face_in_crop(crop).landmarks, DLIB_IN_TEMPLATE), TEMPLATE_SIZE)
