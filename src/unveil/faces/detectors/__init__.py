"""Face detection with five landmarks: several detectors, and one rule that chooses the face of an image."""

from __future__ import annotations

from pathlib import Path

from unveil.faces.detectors.base import DetectedFace, Detector, Face
from unveil.faces.detectors.dlib_hog import DlibDetector, faces_in_crops
from unveil.faces.detectors.grid import GridDetector
from unveil.faces.detectors.rule import FaceChoice, find_face, with_border

__all__ = [
    "DetectedFace",
    "Detector",
    "DlibDetector",
    "Face",
    "FaceChoice",
    "GridDetector",
    "faces_in_crops",
    "find_face",
    "open_detector",
    "with_border",
]


def open_detector(name: str | Path | None) -> Detector:
    """dlib's detector for None or "dlib", else the model of this name or file. Raises ModelError if there is none."""
    return DlibDetector() if name is None or str(name) == "dlib" else GridDetector(name)
