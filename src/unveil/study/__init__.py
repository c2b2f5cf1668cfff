"""Audits of many synthetic datasets, each against its own training set, in one comparison."""

from unveil.study.plan import Plan, PlannedSet, read_plan
from unveil.study.run import run_study

__all__ = ["Plan", "PlannedSet", "read_plan", "run_study"]
