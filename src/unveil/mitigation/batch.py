"""Decisions of a guard on one image, or on all of a folder or container."""

from __future__ import annotations

import logging
from pathlib import Path

from unveil.errors import ImageError
from unveil.images import LabelRule, Location, open_source
from unveil.images.blob import LocalBlob
from unveil.images.sniff import form_of
from unveil.io.atomic import csv_text, write_bytes
from unveil.io.output_file import OutputKind, beginning_with
from unveil.mitigation.guard import Decision, Guard
from unveil.presets import resolve
from unveil.progress import Progress

logger = logging.getLogger(__name__)

BATCH = 64
HEAD = ("id", "decision", "score", "channel", "training row", "training id", "why")
DECISIONS = OutputKind("the decisions of a guard", beginning_with(csv_text([HEAD])))


def decide_on_all(guard: Guard, place: str, progress: Progress) -> list[tuple[str, Decision]]:
    """The decision on every image of a source, or on one file, by id. Raises SourceError if the source is not read."""
    location = resolve(place)[0]
    if _is_image(location):
        (decision,) = guard.check([location.path])
        return [(location.path.name, decision)]
    source = open_source(location, LabelRule("none"))
    for note in source.notes:
        logger.info("%s: %s", place, note)
    progress.start("checking images", len(source.records), "images")
    decisions: list[tuple[str, Decision]] = []
    for start in range(0, len(source.records), BATCH):
        records = source.records[start : start + BATCH]
        unreadable: dict[str, Decision] = {}
        data: list[bytes] = []
        for record in records:
            try:
                data.append(source.read(record))
            except ImageError as error:
                unreadable[record.id] = Decision("no face", None, None, None, None, str(error))
        decided = iter(guard.check(data))
        decisions += [(r.id, unreadable[r.id] if r.id in unreadable else next(decided)) for r in records]
        progress.advance(len(records))
    return decisions


def _is_image(location: Location) -> bool:
    """Whether a location is one image, and not said to be a container such as a sheet of images."""
    local = location.form is None and not location.remote and location.path.is_file()
    return local and form_of(LocalBlob(location.path)) == "image"


def write_decisions(path: Path, decisions: list[tuple[str, Decision]]) -> None:
    """Writes one CSV row per image."""
    rows = (
        (id, d.answer, None if d.score is None else float(f"{d.score:.6g}"), d.channel, d.row, d.id, d.why)
        for id, d in decisions
    )
    write_bytes(path, csv_text([HEAD, *rows]).encode("utf-8", "backslashreplace"))
