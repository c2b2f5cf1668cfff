"""What is compared: a channel turns an image into a unit vector, and the cosine of two vectors is their similarity."""

from unveil.channels.appearance import AppearanceChannel
from unveil.channels.base import Channel
from unveil.channels.copy import CopyChannel
from unveil.channels.face import FaceChannel
from unveil.channels.face_image import FaceImage, realigned_face
from unveil.channels.quality import QUALITY_FEATURES, quality_features
from unveil.faces.detectors import Detector, open_detector

__all__ = [
    "QUALITY_FEATURES",
    "AppearanceChannel",
    "Channel",
    "CopyChannel",
    "Detector",
    "FaceChannel",
    "FaceImage",
    "open_detector",
    "quality_features",
    "realigned_face",
]
