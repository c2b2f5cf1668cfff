"""Which column of a table holds the images, and which the labels of people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, overload

from unveil.errors import ImageError, SourceError
from unveil.images.unread import shortened

IMAGE_COLUMNS = ("image", "images", "img", "jpg", "png", "picture", "face", "x")
# Columns that a note shows.
SHOWN_COLUMNS = 5
# Names that say that the values are people; then those of classes, and those that may be of images as well.
PERSON_NAMES = ("person", "person_id", "identity", "identity_id", "label", "labels", "subject", "subject_id")
CLASS_NAMES = (*PERSON_NAMES, "class", "cls")
MAY_BE_OF_IMAGES = ("id", "y", "name")
LABEL_NAMES = (*CLASS_NAMES, *MAY_BE_OF_IMAGES)
# Of these, a name whose values never repeat is one of images.
IMAGE_NAMES = ("id",)


@overload
def choose_column(known: Collection[str], chosen: str | None, names: Sequence[str], what: str, option: str) -> str: ...
@overload
def choose_column(
    known: Collection[str], chosen: str | None, names: Sequence[str], what: str, option: str, *, needed: Literal[False]
) -> str | None: ...
def choose_column(
    known: Collection[str], chosen: str | None, names: Sequence[str], what: str, option: str, *, needed: bool = True
) -> str | None:
    """The column that the user chose, else the first of ``names`` that is known, else the only column.

    Raises SourceError, with the columns and the option that chooses one, when the choice is missing or in doubt. A
    column that is not ``needed`` is None instead of in doubt.
    """
    if chosen is not None:
        if chosen in known:
            return chosen
        raise SourceError(f"{what}: no {chosen} among {_some(sorted(known), ', ') or 'nothing that fits'}")
    by_last_part: dict[str, list[str]] = {}
    for column in sorted(known):
        by_last_part.setdefault(column.rpartition("/")[2].lower(), []).append(column)
    found = next((by_last_part[name] for name in names if name in by_last_part), [])
    if not found and needed:
        found = sorted(known)
    if len(found) == 1:
        return found[0]
    if not found:
        if not needed:
            return None
        raise SourceError(f"{what}: no column fits")
    raise SourceError(f"{what} may be {_some(found, ' or ')}; say which, as in {option}={found[0]}")


class ChosenLabels(NamedTuple):
    """The label of each image, the name that states it, and a note on other names that may state people, too."""

    labels: list[str | None]
    name: str | None = None
    note: str = ""
    stated: Mapping[str, int] = MappingProxyType({})


def choose_labels(
    found: Mapping[str, Mapping[int, str]], names: Sequence[str], n: int, only: str | None = None
) -> ChosenLabels:
    """The labels of ``n`` images by one of the ``names``; ``found`` has those that each name states, by rows.

    `most_stated` chooses unless ``only`` one name may be used. Labels of two names are never mixed: their numbers would
    make two people one.
    """
    known = [name for name in names if found.get(name) and only in (None, name)]
    if not known:
        return ChosenLabels([None] * n)
    of_people = [k for k in known if k not in IMAGE_NAMES or len(set(found[k].values())) < len(found[k])] or known
    stated = {name: len(found[name]) if name in of_people else 0 for name in names}
    chosen = most_stated(stated)
    others = [name for name in known if name != chosen]
    labels: list[str | None] = [None] * n
    for row, label in found[chosen].items():
        labels[row] = label
    note = f"people are those of {chosen}, not of {_some(others, ' or ')}" if others else ""
    if chosen in IMAGE_NAMES and not others:
        note = f"people are those of {chosen}, which may be something of the images"
    return ChosenLabels(labels, chosen, note, stated)


def most_stated(stated: Mapping[str, int]) -> str:
    """The first of the names, the surest first, that labels at least half as many images as any."""
    most = max(stated.values())
    return next(name for name, n in stated.items() if 2 * n >= most)


def _some(names: Sequence[str], separator: str) -> str:
    """The first names, and how many more there are."""
    more = f"{separator}{len(names) - SHOWN_COLUMNS:,} more" if len(names) > SHOWN_COLUMNS else ""
    return separator.join(map(shortened, names[:SHOWN_COLUMNS])) + more


class SeveralImagesError(ImageError):
    """A record holds several images, and no option says which is meant."""


def several_images(used: object, others: Sequence[object], where: str) -> SeveralImagesError:
    """The error for a record whose images are ``used`` and ``others``, which the option ``image`` chooses from."""
    named = ", ".join(str(name) for name in (used, *others[:SHOWN_COLUMNS]))
    return SeveralImagesError(
        "read",
        "several images in the record",
        f"{where}: one image was expected, found {named}; say which, as in image={used}, and audit the others as well",
    )


def notes_of_unused(columns: Collection[str], usable: Collection[str], used: str | None) -> list[str]:
    """Notes on the columns that may be labels and are not ``used``, and what would use them."""
    notes = []
    for name in columns:
        if name == used or name.rpartition("/")[2].lower() not in PERSON_NAMES:
            continue
        if name not in usable:
            notes.append(f"the column {name} is not used: its values are no labels of people")
        else:
            notes.append(f"the column {name} is not used: {used} holds the people. Use label={name} to change that")
    if used is not None and used.rpartition("/")[2].lower() in MAY_BE_OF_IMAGES:
        notes.append(
            f"the people are those of {used}, which may be something of the images. Use label=NAME to change that"
        )
    if used is None and usable:
        shown = ", ".join(sorted(usable)[:SHOWN_COLUMNS])
        notes.append(f"no column is named like labels of people; if one of {shown} holds them, use label=NAME")
    return notes
