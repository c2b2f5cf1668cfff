"""What a Python program uses: audits and overlaps of paths and arrays, and what can be done with their results."""

from unveil.api.audits import Audit, audit, write_protocol
from unveil.api.data import Embeddings, Images
from unveil.api.loading import load
from unveil.api.overlaps import Overlap, overlap
from unveil.api.plots import Plots
from unveil.api.records import Records
from unveil.api.roc import ROC

__all__ = [
    "ROC",
    "Audit",
    "Embeddings",
    "Images",
    "Overlap",
    "Plots",
    "Records",
    "audit",
    "load",
    "overlap",
    "write_protocol",
]
