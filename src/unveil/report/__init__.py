"""From a result to what people and programs read: HTML, JSON, Parquet, and texts to publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unveil.lazy import imported

if TYPE_CHECKING:
    from unveil.report.write import GALLERIES, PUBLIC, write_pages, write_report, write_reports

# Where names live; nothing is imported before it is asked for.
_HOMES = {
    "GALLERIES": "unveil.report.write",
    "PUBLIC": "unveil.report.write",
    "write_pages": "unveil.report.write",
    "write_report": "unveil.report.write",
    "write_reports": "unveil.report.write",
}

__all__ = ["GALLERIES", "PUBLIC", "write_pages", "write_report", "write_reports"]


def __getattr__(name: str) -> Any:
    return imported(__name__, _HOMES, name)
