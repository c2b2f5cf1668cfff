"""Writes every report of a run, `audit.json` last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from unveil.images import Source
from unveil.io.atomic import write_bytes
from unveil.report.document import document
from unveil.report.html import galleries, render, render_gallery, shown_pairs
from unveil.report.public import public_texts
from unveil.report.redact import redact as redacted
from unveil.report.tables import write_tables
from unveil.report.thumbnails import Thumbnails
from unveil.results.audit import AuditResult
from unveil.types import Embedded, Matches, Role

# The folder of what may leave the house.
PUBLIC = "publish"


def write_reports(
    result: AuditResult,
    run: Path,
    matches: Matches,
    synthetic: Embedded,
    training: Embedded,
    sources: Mapping[Role, Source],
    *,
    redact: bool,
) -> None:
    """Everything of `write_pages`, and the tables that only an audit can write."""
    write_tables(result, run, matches, synthetic, training)
    write_pages(result, run, sources, redact=redact)


def write_pages(result: AuditResult, run: Path, sources: Mapping[Role, Source], *, redact: bool) -> None:
    """Pages and document of a result, and what its author may publish: that names nobody and shows no face. With
    ``redact`` also a page and a document that name nobody."""
    significant = result.significant_people
    shown = [*(pair for pairs in shown_pairs(result) for pair in pairs), *significant]
    shelf = Thumbnails(
        sources,
        {"synthetic": [p.synthetic_id for p in shown], "training": [p.training_id for p in shown]},
    )
    pages = galleries(result)
    for page in pages:
        _write_page(run / page.file, render_gallery(result, page, shelf))
    # A run may have had more before.
    for old in run.glob("report.pairs-*.html"):
        if old.name not in {page.file for page in pages}:
            old.unlink()
    _write(result, run, "report.html", "audit.json", shelf)
    nameless = redacted(result)
    if redact:
        _write(nameless, run, "report.redacted.html", "audit.redacted.json", None)
    for name, text in public_texts(nameless).items():
        write_bytes(run / PUBLIC / name, text.encode("utf-8", "backslashreplace"))


def _write(result: AuditResult, run: Path, page: str, data: str, shelf: Thumbnails | None) -> None:
    _write_page(run / page, render(result, shelf))
    text = json.dumps(document(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(run / data, (text + "\n").encode("utf-8", "backslashreplace"))


def _write_page(path: Path, page: str) -> None:
    write_bytes(path, page.encode("utf-8", "backslashreplace"))
