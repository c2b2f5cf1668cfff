"""What a Python program uses: audits of paths and arrays, and what can be done with their results."""

from unveil.api.audits import Audit, audit, load, write_protocol
from unveil.api.data import Embeddings, Images
from unveil.api.plots import Plots
from unveil.api.records import Records
from unveil.api.roc import ROC

__all__ = ["ROC", "Audit", "Embeddings", "Images", "Plots", "Records", "audit", "load", "write_protocol"]
