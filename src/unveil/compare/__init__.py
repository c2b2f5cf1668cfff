"""Exact comparison of all pairs: nothing may be missed, so nothing is approximate."""

from unveil.compare.api import compare_all
from unveil.compare.checkpoint import Checkpoint
from unveil.compare.comparators import Comparator, choose, describe
from unveil.compare.exact import exact_cosine
from unveil.compare.people import best_among, best_of_others
from unveil.compare.tiles import Tiled

__all__ = [
    "Checkpoint",
    "Comparator",
    "Tiled",
    "best_among",
    "best_of_others",
    "choose",
    "compare_all",
    "describe",
    "exact_cosine",
]
