"""Planted leaks (canaries): changed copies of images of control people, which measure what an audit detects."""

from unveil.planting.perturbations import PERTURBATIONS, QUICK, Perturbation, perturb
from unveil.planting.source import FRAME_MARGIN, PlantedImage, PlantedSource

__all__ = ["FRAME_MARGIN", "PERTURBATIONS", "QUICK", "Perturbation", "PlantedImage", "PlantedSource", "perturb"]
