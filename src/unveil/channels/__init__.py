"""What is compared. A channel turns a picture into a unit vector; everything after it is the same for each."""

from unveil.channels.base import Channel
from unveil.channels.face import FaceChannel, realigned_face, template_face
from unveil.channels.traits import TRAITS, traits_of

__all__ = ["TRAITS", "Channel", "FaceChannel", "realigned_face", "template_face", "traits_of"]
