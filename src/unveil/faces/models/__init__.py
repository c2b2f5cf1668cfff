"""The model table: what a network file expects, where it is on this machine, and how it gets there."""

from unveil.faces.models.library import load_detector, load_weights
from unveil.faces.models.spec import ALIGNMENT_VERSION, DetectorSpec, ModelSpec, Spec

__all__ = ["ALIGNMENT_VERSION", "DetectorSpec", "ModelSpec", "Spec", "load_detector", "load_weights"]
