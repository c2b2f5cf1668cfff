"""What a container holds that no reader reads, counted by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

# Names that a note or an error shows, and characters of each.
SHOWN_NAMES = 3
SHOWN_CHARACTERS = 60
# Notes of a set that a page or the terminal shows.
SHOWN_NOTES = 50


# A file that ends between two of its parts, as one whose writer or download was stopped.
CUT_OFF = "ends of files, which may be cut off: they have no end mark"


class Unread:
    """What is not read, by kind: how many of each, and the first names. Its size does not grow with their number."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, name: str = "", n: int = 1) -> None:
        """Counts ``n`` things of a kind, a plural such as ``bytes after the end``, of which one has this name."""
        self._counts[kind] = self._counts.get(kind, 0) + n
        names = self._names.setdefault(kind, [])
        if name and len(names) <= SHOWN_NAMES:
            names.append(name)

    def add_all(self, other: Unread, prefix: str = "") -> None:
        """Counts everything of another, whose names begin with the prefix here."""
        for kind, count in other._counts.items():
            self.add(kind, n=count)
            names = self._names[kind]
            names += [f"{prefix}{name}" for name in other._names[kind]][: SHOWN_NAMES + 1 - len(names)]

    def notes(self) -> Iterator[str]:
        """A note for each kind."""
        for kind, count in self._counts.items():
            names = self._names[kind]
            yield f"not read: {count:,} {kind}" + (f": {shown_names(names)}" if names else "")


def first_notes(notes: Sequence[str], most: int = SHOWN_NOTES, others: str = "") -> list[str]:
    """The first notes, and a last one that counts the ``others`` and says where they are."""
    if len(notes) <= most:
        return list(notes)
    return [*notes[:most], f"{len(notes) - most:,} of {len(notes):,} notes are not shown{others}"]


def shown_names(names: Iterable[str]) -> str:
    """The first names, each cut to a length that a line can hold."""
    first: list[str] = []
    for name in names:
        if len(first) == SHOWN_NAMES:
            return ", ".join((*first, "..."))
        first.append(shortened(name))
    return ", ".join(first)


def shortened(name: str) -> str:
    """A name, cut to a length that a line can hold."""
    return name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}..."
