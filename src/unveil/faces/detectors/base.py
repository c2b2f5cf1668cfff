"""What a detector returns, and the interface of every detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from unveil.faces.align import TEMPLATE_SIZE, ImageArray, Points, similarity

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class DetectedFace:
    """A detected face: its box, and its landmarks (5, 2) if the detector finds them together."""

    box: Box
    landmarks: Points | None = None

    def rescaled(self, scale_x: float, scale_y: float, border: float = 0.0) -> DetectedFace:
        """The same face in an image of another size, after a border of ``border`` pixels is removed."""
        left, top, right, bottom = self.box
        box = (left * scale_x - border, top * scale_y - border, right * scale_x - border, bottom * scale_y - border)
        points = self.landmarks
        return DetectedFace(box, None if points is None else points * [scale_x, scale_y] - border)


@dataclass(frozen=True)
class Face:
    """The landmarks of one face (5, 2) in pixels of the image, and their positions in the 112-pixel template."""

    landmarks: Points
    template: Points

    @property
    def to_template(self) -> Points:
        """The 2 x 3 similarity transform from the image to the template."""
        return similarity(self.landmarks, self.template)

    @property
    def size(self) -> float:
        """The length in image pixels of a side of the aligned crop."""
        matrix = self.to_template
        return float(TEMPLATE_SIZE / max(1e-9, (matrix[0, 0] ** 2 + matrix[0, 1] ** 2) ** 0.5))


class Detector(Protocol):
    """Finds faces. Its methods may be called from several threads.

    To add a detector, write a class with these members in a file of its own and return it from `open_detector`.
    """

    @property
    def name(self) -> str: ...

    @property
    def licence(self) -> str: ...

    @property
    def key(self) -> str:
        """Everything that decides what is detected; part of the recipe of a store."""
        ...

    @property
    def runtime(self) -> str:
        """The library that runs the detector, with its version; empty for dlib, whose version every recipe names."""
        ...

    @property
    def min_side(self) -> int:
        """An image whose longer side is shorter is enlarged before detection."""
        ...

    @property
    def max_side(self) -> int:
        """An image whose longer side is longer is reduced before detection."""
        ...

    def detect(self, image: ImageArray) -> list[DetectedFace]:
        """The faces in an image (H, W, 3) uint8 RGB, in its pixels."""
        ...

    def face(self, image: ImageArray, detected: DetectedFace) -> Face:
        """The landmarks of a detected face in the whole image."""
        ...
