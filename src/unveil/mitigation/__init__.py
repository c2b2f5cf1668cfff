"""Mitigation of a leak: clean the dataset, guard the generator, answer a person."""

from unveil.mitigation.cleaning import Cleaning, clean
from unveil.mitigation.guard import Decision, Guard
from unveil.mitigation.person_lookup import Answer, IdenticalFile, identical_files, lookup

__all__ = ["Answer", "Cleaning", "Decision", "Guard", "IdenticalFile", "clean", "identical_files", "lookup"]
