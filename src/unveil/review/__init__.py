"""Human review: a local page that shows pairs, verdicts in SQLite, and their summary."""

from unveil.review.summary import review_summary
from unveil.review.verdicts import REVIEW_VERDICTS, ReviewVerdict, VerdictStore

__all__ = ["REVIEW_VERDICTS", "ReviewVerdict", "VerdictStore", "review_summary"]
