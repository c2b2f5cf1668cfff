"""Which column of a table holds the pictures, and which the people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, overload

from unveil.errors import SourceError

IMAGE_COLUMNS = ("image", "images", "img", "jpg", "png", "picture", "face", "x")
LABEL_NAMES = (
    *("person", "person_id", "identity", "identity_id", "label", "labels", "subject", "subject_id"),
    *("class", "cls", "id", "y", "name"),
)


@overload
def choose_columns(known: Collection[str], told: str | None, names: Sequence[str], what: str, option: str) -> str: ...
@overload
def choose_columns(
    known: Collection[str], told: str | None, names: Sequence[str], what: str, option: str, *, needed: Literal[False]
) -> str | None: ...
def choose_columns(
    known: Collection[str], told: str | None, names: Sequence[str], what: str, option: str, *, needed: bool = True
) -> str | None:
    """The column that is told, else the first of ``names`` that is there, else the only one there is.

    SourceError, with those there are and the option that says which, when none can be chosen and one is ``needed``.
    """
    if told is not None:
        if told in known:
            return told
        raise SourceError(f"{what}: no {told} among {', '.join(sorted(known)) or 'nothing that fits'}")
    last = {name.rpartition("/")[2].lower(): name for name in sorted(known, reverse=True)}
    for name in names:
        if name in last:
            return last[name]
    if not needed:
        return None
    if len(known) == 1:
        return next(iter(known))
    if not known:
        raise SourceError(f"{what}: nothing in it looks like pictures")
    raise SourceError(f"{what} may be {' or '.join(sorted(known))}; say which, as in {option}={sorted(known)[0]}")
