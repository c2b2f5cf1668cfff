"""The parts of a container that are not read: each is named in a note, and is an error if it may be images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unveil.errors import SourceError
from unveil.images.unread import SHOWN_CHARACTERS, shortened
from unveil.io.text import printable

# Parts that a note names, and those that an error names.
SHOWN_PARTS, SHOWN_IMAGES = 20, 5


@dataclass(frozen=True)
class Part:
    """A part of a container that is not read: its name, its type in words, and whether it may be images.

    ``option`` says that the option ``image`` can choose it.
    """

    name: str
    kind: str
    may_be_images: bool
    option: bool = False

    def __str__(self) -> str:
        return f"{_short(self.name)} ({_short(self.kind)})"


def notes_of_unread(what: str, used: str, parts: Iterable[Part], *, chosen: bool, option: str = "image") -> list[str]:
    """Notes on the parts that are not read beside ``used``; SourceError where some may be images, unless the user has
    ``chosen`` one.

    A leak in images that nobody looks at would not be found.
    """
    found = sorted(parts, key=lambda part: not part.may_be_images)
    images = [part for part in found if part.may_be_images]
    if images and not chosen:
        if all(part.option for part in images):
            names = " or ".join((used, *(part.name for part in images[:SHOWN_IMAGES])))
            raise SourceError(
                f"{what} may be {names}: each holds images, and one is read. Say which, as in {option}={used}, and "
                "audit the others in the same way"
            )
        raise SourceError(
            f"{what} was expected alone, but beside {used}, images may be in "
            f"{named(images, SHOWN_IMAGES)}. Use {option}={used} to read {used} alone, and write "
            "the others as image files to audit them"
        )
    notes = [
        f"the images in {part.name} are not read; use {option}={part.name} to read them"
        for part in images
        if part.option
    ]
    others = [part for part in found if not (part.may_be_images and part.option)]
    if others:
        notes.append(f"not read: {named(others)}")
    return notes


def named(parts: Sequence[Part], limit: int = SHOWN_PARTS) -> str:
    """The first parts with their types, and how many more there are."""
    more = f" and {len(parts) - limit} more" if len(parts) > limit else ""
    return ", ".join(map(str, parts[:limit])) + more


def _short(text: str) -> str:
    return shortened(printable(text[: SHOWN_CHARACTERS + 1]))
