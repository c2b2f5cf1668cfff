"""Leaks that an audit plants itself: changed copies of control people's pictures, to see which would be found."""

from unveil.planted.changes import CHANGES, QUICK, Change, change
from unveil.planted.source import FRAME_MARGIN, Plant, PlantedSource

__all__ = ["CHANGES", "FRAME_MARGIN", "QUICK", "Change", "Plant", "PlantedSource", "change"]
