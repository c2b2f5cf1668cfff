"""Model files: what each expects, where it is on this machine, and how it is fetched."""

from unveil.faces.models.library import load_detector, load_model
from unveil.faces.models.spec import ALIGNMENT_VERSION, DetectorSpec, ModelSpec, Spec

__all__ = ["ALIGNMENT_VERSION", "DetectorSpec", "ModelSpec", "Spec", "load_detector", "load_model"]
