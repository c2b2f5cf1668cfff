"""Exact comparison of all pairs: nothing may be missed, so nothing is approximate."""

from unveil.compare.api import compare_all
from unveil.compare.checkpoint import Checkpoint
from unveil.compare.exact import exact_cosine
from unveil.compare.people import best_among, best_of_others

__all__ = ["Checkpoint", "best_among", "best_of_others", "compare_all", "exact_cosine"]
