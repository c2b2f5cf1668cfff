"""Scores of all people as the text files that biometric tools read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from unveil.io.atomic import write_bytes
from unveil.io.output_file import OutputKind, beginning_with, check_output_file
from unveil.results import Exposures

Columns = Literal[4, 5]
MEMBER, NON_MEMBER = "member", "non-member"
SCORES = OutputKind("a file of scores", beginning_with(f"{MEMBER} "))


def write_score_file(exposures: Exposures, path: Path, columns: Columns) -> None:
    """Writes a line for each training and control person, as `bob.measure` reads it.

    Every person claims to be a member of the training set. The score of a training person is genuine, that of a control
    person an impostor's. Four columns: claimed identity, true identity, label, score. Five columns have the compared
    reference, here ``synthetic``, after the claimed identity. A label is the person's name, percent-encoded.
    Raises SettingError for a path with another file. See https://www.idiap.ch/software/bob/docs/bob/bob.measure/master/guide.html.
    """
    check_output_file("path", path, SCORES)
    write_bytes(path, "".join(_lines(exposures, columns)).encode("utf-8"))


def _lines(exposures: Exposures, columns: Columns) -> Iterator[str]:
    claim = MEMBER if columns == 4 else f"{MEMBER} synthetic"
    for truth, side in ((MEMBER, exposures.training), (NON_MEMBER, exposures.control)):
        for person, score in zip(side.people, side.score, strict=True):
            label = quote(person.encode("utf-8", "surrogateescape"), safe="/")
            yield f"{claim} {truth} {label} {float(score)!r}\n"
