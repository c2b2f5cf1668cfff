"""People look at pairs: a page on this machine, verdicts in SQLite, and what follows from them."""

from unveil.review.summary import review_summary
from unveil.review.verdicts import REVIEW_VERDICTS, ReviewVerdict, VerdictStore

__all__ = ["REVIEW_VERDICTS", "ReviewVerdict", "VerdictStore", "review_summary"]
