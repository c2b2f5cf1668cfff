"""Exact comparison of all pairs: nothing may be missed, so nothing is approximate."""

from unveil.compare.api import compare_all
from unveil.compare.backends import Backend, describe, open_backend
from unveil.compare.distributed import DistributedBackend
from unveil.compare.exact import exact_cosine
from unveil.compare.filtered import best_among, best_of_others
from unveil.io.checkpoint import Checkpoint

__all__ = [
    "Backend",
    "Checkpoint",
    "DistributedBackend",
    "best_among",
    "best_of_others",
    "compare_all",
    "describe",
    "exact_cosine",
    "open_backend",
]
