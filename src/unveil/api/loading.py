"""`unveil.load`: a finished audit or overlap from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from unveil.api.audits import Audit
from unveil.api.overlaps import Overlap
from unveil.runs.finished import FinishedRun
from unveil.sharing import OverlapRun


@overload
def load(run: str | Path) -> Audit: ...
@overload
def load(run: str | Path, kind: type[Audit]) -> Audit: ...
@overload
def load(run: str | Path, kind: type[Overlap]) -> Overlap: ...
def load(run: str | Path, kind: type[Audit | Overlap] = Audit) -> Audit | Overlap:
    """The result of the finished audit in the folder ``run``, or of the overlap there with ``unveil.Overlap`` as kind.

    Raises StoreError for a folder that holds no finished one, and for files that were damaged or changed.
    """
    if issubclass(kind, Overlap):
        return Overlap.of(OverlapRun(Path(run)).result, Path(run))
    return Audit.of(FinishedRun(Path(run)).result, Path(run))
