"""What is compared. A channel turns a picture into a unit vector; everything after it is the same for each."""

from unveil.channels.appearance import AppearanceChannel
from unveil.channels.base import Channel
from unveil.channels.copies import CopyChannel
from unveil.channels.face import FaceChannel
from unveil.channels.shot import Shot, realigned_face
from unveil.channels.traits import TRAITS, traits_of
from unveil.faces.detectors import Detector, open_detector
from unveil.faces.network import Device

__all__ = [
    "TRAITS",
    "AppearanceChannel",
    "Channel",
    "CopyChannel",
    "Detector",
    "Device",
    "FaceChannel",
    "Shot",
    "open_detector",
    "realigned_face",
    "traits_of",
]
