"""Leaks that an audit plants itself: changed copies of control people's pictures, to see which would be found."""

from unveil.planting.perturbations import PERTURBATIONS, QUICK, Perturbation, perturb
from unveil.planting.source import FRAME_MARGIN, PlantedImage, PlantedSource

__all__ = ["FRAME_MARGIN", "PERTURBATIONS", "QUICK", "Perturbation", "PlantedImage", "PlantedSource", "perturb"]
