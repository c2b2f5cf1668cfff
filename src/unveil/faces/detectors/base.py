"""What a detector sees, and the seam behind which each stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from unveil.faces.align import TEMPLATE_SIZE, ImageArray, Points, similarity

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class DetectedFace:
    """A face that a detector saw: its box and, where the detector finds them with it, its landmarks (5, 2)."""

    box: Box
    landmarks: Points | None = None

    def moved(self, scale_x: float, scale_y: float, shift: float = 0.0) -> DetectedFace:
        """The same in a picture of another size, less a border of ``shift`` pixels."""
        left, top, right, bottom = self.box
        box = (left * scale_x - shift, top * scale_y - shift, right * scale_x - shift, bottom * scale_y - shift)
        points = self.landmarks
        return DetectedFace(box, None if points is None else points * [scale_x, scale_y] - shift)


@dataclass(frozen=True)
class Face:
    """One face in a picture: landmarks (5, 2) in pixels, and where they belong in the 112-pixel template."""

    landmarks: Points
    template: Points

    @property
    def onto_template(self) -> Points:
        """The 2 x 3 similarity that brings the picture onto the template."""
        return similarity(self.landmarks, self.template)

    @property
    def size(self) -> float:
        """Pixels of the picture that lie along a side of the aligned crop."""
        matrix = self.onto_template
        return float(TEMPLATE_SIZE / max(1e-9, (matrix[0, 0] ** 2 + matrix[0, 1] ** 2) ** 0.5))


class Detector(Protocol):
    """Finds faces. Its calls may come from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def licence(self) -> str: ...

    @property
    def key(self) -> str:
        """Everything that decides what is found."""
        ...

    @property
    def min_side(self) -> int:
        """A picture whose longer side is shorter is enlarged before it is looked at."""
        ...

    @property
    def max_side(self) -> int:
        """A picture whose longer side is longer is reduced before it is looked at."""
        ...

    def detect(self, image: ImageArray) -> list[DetectedFace]:
        """The faces in a picture (H, W, 3), at its size."""
        ...

    def face(self, image: ImageArray, seen: DetectedFace) -> Face:
        """The landmarks of a face that was seen, in the whole picture."""
        ...
