"""Runs a study: one audit per dataset, one store for all audits, one page at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil import __version__
from unveil.auditor import run_audit
from unveil.config.settings import Settings
from unveil.engine import EngineOpener, shared_engine
from unveil.errors import InputError, SettingError, UnveilError
from unveil.images import Source, open_source
from unveil.io.atomic import remove_stale_temp
from unveil.io.folders import exclusive
from unveil.io.run_directory import MANIFEST, read_manifest
from unveil.presets import resolve
from unveil.progress import Progress, Silent
from unveil.report.thumbnails import Thumbnails
from unveil.results import to_document
from unveil.runs.finished import FinishedRun
from unveil.runs.inputs import same_inputs
from unveil.study.plan import RUNS, Plan, PlannedSet
from unveil.study.report import SetRow, Thumbnail, check_comparison_files, row_of, write_comparison
from unveil.types import Role

logger = logging.getLogger(__name__)

REPORT = "report.html"
THUMBNAIL_ROLES: tuple[Role, Role] = ("synthetic", "training")


def run_study(plan: Plan, out: Path, progress: Progress | None = None, *, redact: bool = False) -> list[SetRow]:
    """Audits every dataset that is available, writes the comparison to ``out``, and returns a row for each dataset.

    A finished audit is reused if settings, version and inputs are the same. A dataset that is absent or that cannot be
    audited becomes a row with the reason. Raises SettingError for links in ``out`` through which runs would be written
    elsewhere, and for other files of the names of a study.
    """
    for folder in (out / RUNS, *(out / RUNS / planned.slug for planned in plan.sets)):
        if folder.is_symlink():
            raise SettingError(f"-o {out}: {folder} is a link, which is not followed in a study; name a new folder")
    check_comparison_files(out)
    with exclusive(out):
        remove_stale_temp(out, of=("study.*",))
        progress = progress or Silent()
        with shared_engine(plan.engine, progress) as engine:
            return _run_study(plan, out, progress, redact, engine)


def _run_study(plan: Plan, out: Path, progress: Progress, redact: bool, engine: EngineOpener) -> list[SetRow]:
    rows: list[SetRow] = []
    images: dict[str, Thumbnail] = {}
    for i, planned in enumerate(plan.sets, start=1):
        logger.info(f"{planned.name} ({i} of {len(plan.sets)})")
        row = _row(plan, planned, out, progress, engine)
        rows.append(row)
        if row.state == "audited" and (thumbnails := _thumbnails(plan.settings_of(planned, out), row)) is not None:
            images[row.name] = thumbnails.thumbnail
    write_comparison(plan.title, rows, images, out, redact=redact)
    return rows


def _row(plan: Plan, planned: PlannedSet, out: Path, progress: Progress, engine: EngineOpener) -> SetRow:
    missing = plan.absent(planned)
    settings, notes = plan.settings_of(planned, out), _notes(planned)
    finished = _finished(settings)
    if missing:
        absent = f"not here: {'; '.join(missing)}"
        if finished is None:
            return SetRow(planned.name, planned.title, "absent", absent, notes)
        logger.info(f"{planned.name}: audited before, see {settings.out}; {absent}")
        notes = (*notes, "the result is of an earlier audit; its inputs are no longer available")
    elif finished is not None and same_inputs(settings, finished.manifest):
        logger.info(f"{planned.name}: audited before, see {settings.out}")
    else:
        if finished is not None:
            logger.info(f"{planned.name}: the inputs have changed since the audit in {settings.out}; auditing again")
        try:
            run_audit(settings, progress, engine=engine)
        except InputError as error:
            return SetRow(planned.name, planned.title, "failed", str(error), notes)
        finished = _finished(settings)
    if finished is None:
        return SetRow(planned.name, planned.title, "failed", f"{settings.out} was changed while the study ran")
    report = (settings.out / REPORT).relative_to(out).as_posix()
    return row_of(planned.name, planned.title, finished.audit, report, notes)


@dataclass(frozen=True)
class _FinishedAudit:
    """The manifest and the result of a finished run, as plain values."""

    manifest: dict[str, Any]
    audit: dict[str, Any]


def _finished(settings: Settings) -> _FinishedAudit | None:
    """The finished audit with these settings and this version, or None.

    An audit that another user made, or that was changed since it finished, is none.
    """
    manifest = read_manifest(settings.out / MANIFEST) or {}
    try:
        same = manifest["settings"] == settings.facts() and manifest["versions"]["unveil"] == __version__
        run = FinishedRun(settings.out) if same else None
    except (UnveilError, OSError, KeyError, TypeError):
        return None
    return _FinishedAudit(manifest, to_document(run.result)) if run is not None and run.own else None


def _notes(planned: PlannedSet) -> tuple[str, ...]:
    """The notes of the presets on the dataset."""
    _, synthetic = resolve(planned.places["synthetic"])
    if synthetic is None:
        return ()
    notes = [f"{synthetic.title}: {synthetic.paper_title} ({synthetic.paper})" if synthetic.paper else synthetic.title]
    if synthetic.trained_on_note:
        notes.append(f"its generator was trained on {synthetic.trained_on_note}")
    _, training = resolve(planned.places["training"])
    if training is not None and synthetic.trained_on and training.name not in synthetic.trained_on:
        notes.append(f"it is compared with {training.title}, but no source says that it was trained on it")
    if not synthetic.established:
        notes.append("the layout of its container is not established, so it is detected from the content")
    return tuple(notes)


def _thumbnails(settings: Settings, row: SetRow) -> Thumbnails | None:
    """The thumbnails of the closest pairs, or None if the images are no longer there."""
    try:
        sources: dict[Role, Source] = {
            role: open_source(place, settings.labels.get(role), follow_links=settings.follow_links)
            for role in THUMBNAIL_ROLES
            if (place := settings.source(role)) is not None
        }
    except InputError:
        return None
    return Thumbnails(
        sources, {"synthetic": [p.synthetic_id for p in row.pairs], "training": [p.training_id for p in row.pairs]}
    )
