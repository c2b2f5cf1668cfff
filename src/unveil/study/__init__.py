"""Many synthetic sets against their own training sets, side by side."""

from unveil.study.plan import Plan, PlannedSet, read_plan
from unveil.study.run import run_study

__all__ = ["Plan", "PlannedSet", "read_plan", "run_study"]
