"""The rule by which each image gets the label of a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from unveil.errors import SettingError

RuleKind = Literal["auto", "folder", "labels", "one-per-image", "none", "prefix", "regex", "list"]

HELP = (
    "auto, folder (the folder of an image), labels (those that the container stores), "
    "prefix:_ (the file name up to the last _), "
    "regex:PATTERN (its first group, searched in the path), list:FILE (lines `path label` inside the source), "
    "one-per-image (every image shows another person) or none (unknown)"
)
# Folders with these names hold parts of a dataset, not people.
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
# StyleGAN's dataset_tool puts 1,000 images into each folder; the name is the number of the thousand.
_STYLEGAN_BATCH = re.compile(r"(?:.*/)?(\d{5})/img(\d{8})\.\w+")
# FFHQ names each folder of 1,000 images after the first of them.
_FFHQ_BATCH = re.compile(r"(?:.*/)?(\d{5})/(\d{5})\.\w+")
BATCH = 1000


@dataclass(frozen=True)
class LabelRule:
    """How the label of a person follows from an image; ``argument`` is the separator, pattern or list file."""

    kind: RuleKind = "auto"
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> LabelRule:
        """A rule from its command-line form; SettingError names the forms when there is no such rule."""
        kind, _, argument = text.partition(":")
        if kind in ("auto", "folder", "labels", "one-per-image", "none") and not argument:
            return cls(kind)  # type: ignore[arg-type]
        if kind in ("prefix", "list") and argument:
            return cls(kind, argument)  # type: ignore[arg-type]
        if kind == "regex" and argument:
            try:
                groups = re.compile(argument).groups
            except re.error as error:
                raise SettingError(f"label rule {text!r}: the pattern does not compile ({error})") from None
            if groups < 1:
                raise SettingError(f"label rule {text!r}: the pattern needs a group ( ) around the person")
            return cls("regex", argument)
        raise SettingError(f"label rule {text!r} does not exist; use {HELP}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def description(self) -> str:
        """In words, for a rule other than ``auto``."""
        if self.kind == "none":
            return "no person labels"
        return "people by stored labels" if self.kind == "labels" else f"people by {self}"

    @property
    def may_use_labels(self) -> bool:
        """Whether stored labels may decide; where they may not, a reader need not read them."""
        return self.kind in ("auto", "labels")

    def decide(self, names: Sequence[str]) -> tuple[LabelRule, str]:
        """The rule that ``auto`` stands for, given the names of the images, and the reason in words.

        Folders are people where images lie in two or more named folders, unless these are splits or numbered batches.
        """
        if self.kind != "auto":
            return self, ""
        folders = {folder_of(name) for name in names} - {"."}
        if len(folders) < 2:
            return LabelRule("none"), "its images lie in one folder" if folders else "its images lie in no folder"
        if all(folder.rpartition("/")[2].lower() in SPLITS for folder in folders):
            return LabelRule("none"), f"its {len(folders)} folders are splits of a dataset"
        if _are_batches(names):
            return LabelRule("none"), f"its {len(folders)} folders are numbered batches of images"
        return LabelRule("folder"), f"its images lie in {len(folders)} folders"

    def person(self, name: str) -> str | None:
        """The label that follows from the name of an image; None where the rule gives none.

        The rules ``labels``, ``list`` and ``one-per-image`` need more than the name; `Source` applies them.
        """
        if self.kind == "folder":
            folder = folder_of(name)
            return folder if folder != "." else None
        if self.kind == "prefix":
            path = PurePosixPath(name)
            before, separator, _ = path.stem.rpartition(self.argument)
            return str(path.parent / before) if separator else None
        if self.kind == "regex":
            found = re.search(self.argument, name)
            return found.group(1) if found else None
        return None


def _are_batches(names: Iterable[str]) -> bool:
    """Whether folders and files are numbered as StyleGAN or FFHQ number them, 1,000 images a folder."""
    stylegan = ffhq = True
    for name in names:
        stylegan = stylegan and _STYLEGAN_BATCH.fullmatch(name) is not None
        if ffhq:
            found = _FFHQ_BATCH.fullmatch(name)
            ffhq = found is not None and int(found[2]) // BATCH * BATCH == int(found[1])
        if not stylegan and not ffhq:
            return False
    return True


def folder_of(id: str) -> str:
    """The folder of a path, ``.`` when it has none."""
    folder, slash, name = id.rpartition("/")
    # Nearly all paths are plain; pathlib takes ten times as long.
    if not slash or name in ("", ".") or "//" in id or "./" in id:
        return str(PurePosixPath(id).parent)
    return folder or "/"
