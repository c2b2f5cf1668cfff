"""From a result to what people and programs read: HTML, JSON, Parquet, and texts to publish."""

from unveil.report.write import GALLERIES, PUBLIC, write_pages, write_report, write_reports

__all__ = ["GALLERIES", "PUBLIC", "write_pages", "write_report", "write_reports"]
