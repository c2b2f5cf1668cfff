"""From a result to what people and programs read: JSON, Parquet, one page of HTML."""

from unveil.report.write import write_reports

__all__ = ["write_reports"]
