"""People look at pairs: a page on this machine, verdicts in SQLite, and what follows from them."""

from unveil.review.outcome import outcome_of
from unveil.review.verdicts import VERDICTS, Verdict, VerdictStore

__all__ = ["VERDICTS", "Verdict", "VerdictStore", "outcome_of"]
