"""The rule by which each image gets the label of a person."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Literal

from unveil.errors import SettingError
from unveil.io.text import printable

RuleKind = Literal["auto", "folder", "labels", "one-per-image", "none", "prefix", "regex", "list"]

HELP = (
    "auto, folder (the folder of an image), labels (those that the container stores), "
    "prefix:_ (the file name up to the last _), "
    "regex:PATTERN (its first group, searched in the path), list:FILE (lines `path label` in the source or beside it), "
    "one-per-image (every image shows another person) or none (unknown)"
)
# Folders with these names hold parts of a dataset, not people.
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
# StyleGAN's dataset_tool puts 1,000 images into each folder; the name is the number of the thousand.
_STYLEGAN_BATCH = re.compile(r"(?:.*/)?(\d{5})/img(\d{8})\.\w+")
# FFHQ names each folder of 1,000 images after the first of them.
_FFHQ_BATCH = re.compile(r"(?:.*/)?(\d{5})/(\d{5})\.\w+")
BATCH = 1000
# Processor seconds that a pattern may take in all, and for each name; a usual one takes 3 us a name.
MATCH_SECONDS, MATCH_SECONDS_PER_NAME = 10.0, 1e-4
SHOWN_CHARACTERS = 80
# Characters of a pattern with its counted repeats written out: about 600 MB.
MAX_REPEATED = 2_000_000
# Flags under which counts may hold spaces and comments, and groups that match themselves, without end.
_SPACED = re.compile(r"\(\?[\w-]*x")
_RECURSION = re.compile(r"\(\?(?:R|[+-]?\d|&|P>)")


@dataclass(frozen=True)
class LabelRule:
    """How the label of a person follows from an image; ``argument`` is the separator, pattern or list file.

    Of ``labels``, which has none for users, it is the name of the labels that all files of a set are read by.
    """

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
            import regex

            for what, found in (("flag x", _SPACED), ("group that matches itself", _RECURSION)):
                if found.search(argument):
                    raise SettingError(
                        f"label rule {text[:SHOWN_CHARACTERS]!r}: expected a pattern without a {what}, found one. "
                        "Write the pattern without it"
                    )
            # Counted repeats are written out when a pattern is compiled, one in the other.
            counts = re.findall(r"\{(\d+)", argument)
            if len(argument) * math.prod(max(1, min(int(n[:8]), MAX_REPEATED)) for n in counts) > MAX_REPEATED:
                raise SettingError(
                    f"label rule {text[:SHOWN_CHARACTERS]!r}: expected a pattern whose counted repeats, multiplied, "
                    f"are at most {MAX_REPEATED:,} characters, found more. Use + or * in place of a count"
                )
            try:
                groups = regex.compile(argument).groups
            except RecursionError:
                raise SettingError(
                    f"label rule {text[:SHOWN_CHARACTERS]!r}: the pattern does not compile (too many groups in groups)"
                ) from None
            except regex.error as error:
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
    def chosen_name(self) -> str | None:
        """The name of the stored labels to use, None if the reader chooses."""
        return self.argument or None if self.kind == "labels" else None

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
        return LabelRule("folder"), f"its images lie in {len(folders)} folders{_count_as_two(folders)}"

    def people(self, names: Sequence[str]) -> Iterator[str | None]:
        """The label that follows from the name of each image; None where the rule gives none.

        The rules ``labels``, ``list`` and ``one-per-image`` need more than the name; `Source` applies them. Raises
        SettingError when the pattern of a rule ``regex:`` takes longer than `MATCH_SECONDS` allows.
        """
        if self.kind == "folder":
            return (folder if (folder := folder_of(name)) != "." else None for name in names)
        if self.kind == "prefix":
            return (self._before_separator(PurePosixPath(name)) for name in names)
        return self._by_pattern(names) if self.kind == "regex" else (None for _ in names)

    def _before_separator(self, path: PurePosixPath) -> str | None:
        before, separator, _ = path.stem.rpartition(self.argument)
        return str(path.parent / before) if separator and before else None

    def _by_pattern(self, names: Sequence[str]) -> Iterator[str | None]:
        matcher = _matcher(self.argument)
        matcher.seconds_left += MATCH_SECONDS_PER_NAME * len(names)
        for name in names:
            start = time.thread_time()
            try:
                found = matcher.pattern.search(name, timeout=max(0.0, matcher.seconds_left))
            except TimeoutError:
                _matcher.cache_clear()
                raise SettingError(
                    f"label rule {str(self)!r}: the pattern was expected to match names at once, but it takes too long "
                    f"on `{printable(name[:SHOWN_CHARACTERS])}`. A group that repeats should hold no repeat"
                ) from None
            matcher.seconds_left -= time.thread_time() - start
            # An empty text names nobody: it would make one person of all images without one.
            yield (found.group(1) or None) if found else None


@dataclass
class _Matcher:
    """A compiled pattern, and the seconds that matching may still take."""

    pattern: Any
    seconds_left: float


@lru_cache(maxsize=8)
def _matcher(pattern: str) -> _Matcher:
    """One matcher for all files of a set, which may be thousands."""
    # Python's own module has no limit of time, and some patterns try 2^n ways to match a name of n characters.
    import regex

    return _Matcher(regex.compile(pattern), MATCH_SECONDS)


def _count_as_two(folders: Iterable[str]) -> str:
    """What to know of folders that may be one person, such as train/a and val/a, or a/1 and a/2; empty for none."""
    ordered = sorted(folders)
    nested = all("/" in folder for folder in ordered)
    of_split, of_parent = dict[str, str](), dict[str, str]()
    for folder in ordered:
        name = without_splits(folder)
        parent = folder.partition("/")[0]
        other = of_split.setdefault(name, folder) if name else folder
        if other == folder and nested and parent.lower() not in SPLITS:
            other = of_parent.setdefault(parent, folder)
        if other != folder:
            return (
                f"; {printable(other)} and {printable(folder)} count as two people. If they show one, use a rule "
                "regex: for the part of the path that names people, such as regex:^([^/]+)/"
            )
    return ""


def without_splits(folder: str) -> str:
    """A folder without the parts of its path that name splits."""
    return "/".join(part for part in folder.split("/") if part.lower() not in SPLITS)


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
