"""What to do about a leak: clean the set, guard the generator, answer a person."""

from unveil.remedy.clean import Cleaning, clean
from unveil.remedy.guard import Decision, Guard
from unveil.remedy.lookup import Answer, lookup

__all__ = ["Answer", "Cleaning", "Decision", "Guard", "clean", "lookup"]
