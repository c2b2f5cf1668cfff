"""Exact comparison of all pairs: no pair is missed and no score is approximate."""

from unveil.compare.api import Ranking, compare_all, compare_rankings
from unveil.compare.backend_native import exact_scorer
from unveil.compare.backends import Backend, describe, open_backend
from unveil.compare.distributed import DistributedBackend, TileSizes
from unveil.compare.exact import exact_cosine
from unveil.compare.filtered import best_among, best_of_others
from unveil.compare.sizes import BackendSizes
from unveil.io.checkpoint import Checkpoint

__all__ = [
    "Backend",
    "BackendSizes",
    "Checkpoint",
    "DistributedBackend",
    "Ranking",
    "TileSizes",
    "best_among",
    "best_of_others",
    "compare_all",
    "compare_rankings",
    "describe",
    "exact_cosine",
    "exact_scorer",
    "open_backend",
]
