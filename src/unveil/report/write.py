"""Writes the reports of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from unveil.images import Source
from unveil.io.atomic import write_bytes
from unveil.io.indented import indented_json
from unveil.io.output_file import HTML_PAGE, OutputKind, check_output_file, with_head
from unveil.io.run_directory import REDACTED, REDACTED_DOCUMENT, REDACTED_REPORT
from unveil.report.croissant import croissant
from unveil.report.datasheet import datasheet
from unveil.report.html import galleries, render, render_gallery, shown_pairs
from unveil.report.junit import junit
from unveil.report.markdown import markdown
from unveil.report.redact import redact as redacted
from unveil.report.tables import write_tables
from unveil.report.text import NOT_OWN
from unveil.report.thumbnails import Thumbnails
from unveil.results import AuditResult, IdentityFindings, LabelLink, to_document
from unveil.types import Embedded, Matches, Role

# The folder of what the author of a set may publish.
PUBLIC = "publish"
TEXTS = ("report.md", "junit.xml", "croissant.json", "datasheet.md")
# The pages of further pairs.
GALLERIES = "report.pairs-*.html"
RESULT = OutputKind("a result of unveil", with_head('"schema_version": '))


def write_reports(
    result: AuditResult,
    identities: IdentityFindings,
    link: LabelLink | None,
    run: Path,
    matches: Matches,
    synthetic: Embedded,
    training: Embedded,
    sources: Mapping[Role, Source],
    *,
    redact: bool,
) -> None:
    """Writes the tables of a run and everything that `write_pages` writes. ``identities`` are all synthetic ones,
    and ``link`` has all classes."""
    write_tables(result, identities, link, run, matches, synthetic, training)
    write_pages(result, run, sources, redact=redact)


def write_pages(
    result: AuditResult, run: Path, sources: Mapping[Role, Source], *, redact: bool, own: bool = True
) -> None:
    """Writes the report, `audit.json` and the texts to publish, which name nobody and show no face.

    With ``redact``, also a report and an `audit.json` that name nobody. Earlier ones are written again in any case, so
    that they are never those of another result. ``own`` says whether this user made the run; if not, pages and texts
    say so.
    """
    redact = redact or any((run / name).exists() for name in REDACTED)
    thumbnails = _thumbnails(result, sources)
    pages = galleries(result)
    _write_galleries(result, run, thumbnails, own)
    # An earlier report may have had more pages.
    for old in run.glob(GALLERIES):
        if old.name not in {page.file for page in pages}:
            old.unlink()
    _write(result, run, "report.html", "audit.json", thumbnails, own)
    # The texts name nobody: they count significant people and identities, and need no number for the others.
    nameless = redacted(result if redact else _significant(result))
    if redact:
        _write(nameless, run, *REDACTED, None, own)
    if not own:
        nameless = replace(nameless, limitations=(NOT_OWN, *nameless.limitations))
    for name, text in _texts_to_publish(nameless).items():
        write_bytes(run / PUBLIC / name, text.encode("utf-8", "backslashreplace"))


def check_report_files(option: str, folder: Path) -> None:
    """Raises SettingError for a file in a folder that `write_pages` would replace or remove and never wrote."""
    texts = [folder / PUBLIC / name for name in TEXTS]
    pages = [folder / "report.html", folder / REDACTED_REPORT, *folder.glob(GALLERIES)]
    documents = [folder / "audit.json", folder / REDACTED_DOCUMENT]
    for files, kind in ((pages, HTML_PAGE), (documents, RESULT)):
        for file in files:
            check_output_file(option, file, kind)
    if not documents[0].exists():  # texts to publish have no mark; those of a report lie beside its document
        for file in texts:
            check_output_file(option, file, None)


def _significant(result: AuditResult) -> AuditResult:
    """The result without people and identities that are not significant."""
    identities = tuple(identity for identity in result.synthetic_identities if identity.significant)
    return replace(result, people=result.significant_people, synthetic_identities=identities)


def write_report(
    result: AuditResult, path: Path, sources: Mapping[Role, Source], *, redact: bool, own: bool = True
) -> None:
    """Writes the report alone to ``path``, with pages of further pairs beside it where there are many."""
    if redact:
        _write_page(path, render(redacted(result), None, own=own))
        return
    thumbnails = _thumbnails(result, sources)
    _write_galleries(result, path.parent, thumbnails, own)
    _write_page(path, render(result, thumbnails, own=own))


def _thumbnails(result: AuditResult, sources: Mapping[Role, Source]) -> Thumbnails:
    shown = [*(pair for pairs in shown_pairs(result) for pair in pairs), *result.significant_people]
    return Thumbnails(
        sources,
        {"synthetic": [p.synthetic_id for p in shown], "training": [p.training_id for p in shown]},
    )


def _write_galleries(result: AuditResult, folder: Path, thumbnails: Thumbnails, own: bool) -> None:
    for page in galleries(result):
        _write_page(folder / page.file, render_gallery(result, page, thumbnails, own=own))


def _texts_to_publish(redacted_result: AuditResult) -> dict[str, str]:
    texts = (
        *(markdown(redacted_result), junit(redacted_result)),
        json.dumps(croissant(redacted_result), indent=1, ensure_ascii=False) + "\n",
        datasheet(redacted_result),
    )
    return dict(zip(TEXTS, texts, strict=True))


def _write(result: AuditResult, run: Path, page: str, data: str, thumbnails: Thumbnails | None, own: bool) -> None:
    _write_page(run / page, render(result, thumbnails, own=own))
    text = indented_json(to_document(result))
    write_bytes(run / data, (text + "\n").encode("utf-8", "backslashreplace"))


def _write_page(path: Path, page: str) -> None:
    write_bytes(path, page.encode("utf-8", "backslashreplace"))
