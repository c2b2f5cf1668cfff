"""Which people and images two sets of real faces share, and a copy of one set without them."""

from unveil.sharing.finished import OverlapRun
from unveil.sharing.removal import remove_shared
from unveil.sharing.run import run_overlap

__all__ = ["OverlapRun", "remove_shared", "run_overlap"]
