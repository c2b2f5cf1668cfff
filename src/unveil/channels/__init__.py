"""What is compared. A channel turns a picture into a unit vector; everything after it is the same for each."""

from unveil.channels.base import Channel
from unveil.channels.face import FaceChannel

__all__ = ["Channel", "FaceChannel"]
