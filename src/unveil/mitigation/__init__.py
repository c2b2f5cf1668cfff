"""What to do about a leak: clean the set, guard the generator, answer a person."""

from unveil.mitigation.clean import Cleaning, clean
from unveil.mitigation.guard import Decision, Guard
from unveil.mitigation.lookup import Answer, lookup

__all__ = ["Answer", "Cleaning", "Decision", "Guard", "clean", "lookup"]
