"""Writes every report of a run, `audit.json` last."""

from __future__ import annotations

import json
from pathlib import Path

from unveil.files import write_bytes
from unveil.images import Source
from unveil.report.document import document
from unveil.report.html import render, shown_pairs
from unveil.report.redact import redact as redacted
from unveil.report.shelf import PictureShelf
from unveil.report.tables import write_tables
from unveil.result import AuditResult
from unveil.types import Embedded, Matches, Role


def write_reports(
    result: AuditResult,
    run: Path,
    matches: Matches,
    synthetic: Embedded,
    training: Embedded,
    sources: dict[Role, Source],
    *,
    redact: bool,
) -> None:
    """Tables, page and document of a result; with ``redact`` also a page and a document that name nobody."""
    write_tables(result, run, matches, synthetic, training)
    shown = [pair for pairs in shown_pairs(result) for pair in pairs]
    shelf = PictureShelf(
        sources,
        {"synthetic": [p.synthetic_id for p in shown], "training": [p.training_id for p in shown]},
    )
    _write(result, run, "report.html", "audit.json", shelf)
    if redact:
        _write(redacted(result), run, "report.redacted.html", "audit.redacted.json", None)


def _write(result: AuditResult, run: Path, page: str, data: str, shelf: PictureShelf | None) -> None:
    write_bytes(run / page, render(result, shelf).encode("utf-8", "backslashreplace"))
    text = json.dumps(document(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(run / data, (text + "\n").encode("utf-8", "backslashreplace"))
