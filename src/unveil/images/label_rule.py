"""Who is in a picture, by the place or the name of its file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from unveil.errors import SettingError

RuleKind = Literal["auto", "folder", "labels", "one-per-image", "none", "prefix", "regex", "list"]

HELP = (
    "auto, folder (the folder a picture lies in), labels (those that the container holds), "
    "prefix:_ (the file name up to the last _), "
    "regex:PATTERN (its first group, searched in the path), list:FILE (lines `path label` inside the source), "
    "one-per-image (every image shows another person) or none (not known)"
)


@dataclass(frozen=True)
class LabelRule:
    """How a person label follows from a picture's path; ``argument`` is the separator, pattern or list file."""

    kind: RuleKind = "auto"
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> LabelRule:
        """A rule from its command-line form; SettingError says which forms there are."""
        kind, _, argument = text.partition(":")
        if kind in ("auto", "folder", "labels", "one-per-image", "none") and not argument:
            return cls(kind)  # type: ignore[arg-type]
        if kind in ("prefix", "list") and argument:
            return cls(kind, argument)  # type: ignore[arg-type]
        if kind == "regex" and argument:
            try:
                groups = re.compile(argument).groups
            except re.error as error:
                raise SettingError(f"identity rule {text!r}: the pattern does not compile ({error})") from None
            if groups < 1:
                raise SettingError(f"identity rule {text!r}: the pattern needs a group ( ) around the person")
            return cls("regex", argument)
        raise SettingError(f"identity rule {text!r} is not known; use {HELP}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def description(self) -> str:
        """In words, for a rule that is no longer ``auto``."""
        if self.kind == "none":
            return "no person labels"
        return "people by its own labels" if self.kind == "labels" else f"people by {self}"

    @property
    def may_use_labels(self) -> bool:
        """Whether a container's own labels can decide; where not, they need not be read."""
        return self.kind in ("auto", "labels")

    def resolve(self, ids: list[str]) -> LabelRule:
        """``auto`` decided for these ids: folder when pictures lie in two or more folders, else none."""
        if self.kind != "auto":
            return self
        folders = {folder_of(id) for id in ids}
        return LabelRule("folder" if len(folders) > 1 else "none")

    def person(self, id: str) -> str | None:
        """The label of one picture, None when the rule gives none; its source answers for ``list`` and ``labels``."""
        if self.kind == "folder":
            folder = folder_of(id)
            return folder if folder != "." else None
        if self.kind == "one-per-image":
            return id
        if self.kind == "prefix":
            path = PurePosixPath(id)
            before, separator, _ = path.stem.rpartition(self.argument)
            return str(path.parent / before) if separator else None
        if self.kind == "regex":
            found = re.search(self.argument, id)
            return found.group(1) if found else None
        return None


def folder_of(id: str) -> str:
    """The folder of a path, ``.`` when it has none."""
    folder, slash, name = id.rpartition("/")
    # Nearly all are plain, and Path takes ten times as long for each of millions.
    if not slash or name in ("", ".") or "//" in id or "./" in id:
        return str(PurePosixPath(id).parent)
    return folder or "/"
