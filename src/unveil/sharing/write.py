"""The files of an overlap: the document, tables, lists of what to remove, and the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from unveil.choices import SetName
from unveil.images import Source
from unveil.io.atomic import csv_text, write_bytes
from unveil.io.checksums import document_sha256, file_sha256
from unveil.report.overlap import overlap_page
from unveil.results import OverlapResult, PeoplePair, SharedImage, overlap_to_document
from unveil.runs.parts import PARTS, RESULT
from unveil.sharing.finished import DOCUMENT

PAGE = "overlap.html"


def write_overlap(
    run: Path, result: OverlapResult, removed: Mapping[SetName, Sequence[str]], sources: Mapping[SetName, Source]
) -> dict[str, Any]:
    """Writes everything but the manifest; returns the checksums that it holds."""
    document = overlap_to_document(result)
    files = {
        DOCUMENT: json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "people.csv": _table(PeoplePair, result.people),
        "images.csv": _table(SharedImage, result.images),
        "pairs.csv": _table(PeoplePair, (*result.people, *result.candidates)),
        **{f"remove-from-{name}.txt": "".join(f"{id}\n" for id in ids) for name, ids in removed.items()},
        PAGE: overlap_page(result, sources),
    }
    for name, text in files.items():
        write_bytes(run / name, text.encode("utf-8", "backslashreplace"))
    return {RESULT: document_sha256(document), PARTS: {name: file_sha256(run / name) for name in files}}


def _table(record: type[Any], rows: Iterable[Any]) -> str:
    """Rows as CSV: a column for each field, nothing for None, and parts of a tuple separated by a comma."""
    head = [field.name for field in fields(record)]
    return csv_text([head, *([_cell(value) for value in astuple(row)] for row in rows)])


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value
