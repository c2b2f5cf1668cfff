"""Text files that list pictures: `path`, `path label`, or StyleGAN's dataset.json."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from unveil.errors import ImageError, SourceError
from unveil.images.label_rule import LabelRule
from unveil.images.source import MAX_LIST_BYTES, printable, read_file, stays_inside

# Where StyleGAN2 and StyleGAN3 keep the labels of a folder or zip of pictures.
STYLEGAN_LABELS = "dataset.json"
MAX_JSON_BYTES = 256 * 2**20


def parse_list(data: bytes, where: str) -> list[tuple[str, str | None]]:
    """(path, label or None) of each line.

    One separator serves the whole file: a tab if any line has one, else a comma if every line has one, else white
    space before the last word if every line has it; else the lines are paths alone. Empty lines and lines that begin
    with # are passed over. Raises SourceError when the file is not UTF-8 text.
    """
    lines = text_lines(data, where)
    separator: str | None
    if any("\t" in line for line in lines):
        separator = "\t"
    elif lines and all("," in line for line in lines):
        separator = ","
    elif lines and all(len(line.split()) >= 2 for line in lines):
        separator = None
    else:
        return [(line, None) for line in lines]
    rows: list[tuple[str, str | None]] = []
    for line in lines:
        if separator is None:
            path, label = line.rsplit(maxsplit=1)
        else:
            path, _, label = line.partition(separator)
        rows.append((path.strip(), label.strip() or None))
    return rows


def text_lines(data: bytes, where: str) -> list[str]:
    """The lines of a UTF-8 text, without empty ones and comments; SourceError when it is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: a list of pictures should be UTF-8 text ({error})") from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def labels_from(data: bytes, where: str) -> dict[str, str]:
    """The label of each listed path; SourceError when the list has none."""
    stylegan = stylegan_labels(data) if data.lstrip()[:1] == b"{" else None
    if stylegan is not None:
        return stylegan
    labels = {printable(path): label for path, label in parse_list(data, where) if label}
    if not labels:
        raise SourceError(f"{where}: no labels in it; lines `path label` were expected")
    return labels


def stylegan_labels(data: bytes) -> dict[str, str] | None:
    """The label of each picture in a StyleGAN ``dataset.json``, empty when it has none; None when it is another file.

    A label is a whole number, or a vector of which the largest entry counts when it is one-hot; other vectors, such as
    camera poses, are no people.
    """
    if len(data) > MAX_JSON_BYTES:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "labels" not in document:
        return None
    rows = document["labels"]
    if rows is None:
        return {}
    if not isinstance(rows, list):
        return None
    labels: dict[str, str] = {}
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
            return None
        label = class_of(row[1])
        if label is not None:
            labels[printable(row[0])] = label
    return labels


@dataclass(frozen=True)
class FoundLabels:
    """The labels that lie among a container's files: its ``own``, those of the ``listed`` rule, and the files that
    held them, which are no pictures."""

    own: dict[str, str] | None = None
    listed: dict[str, str] | None = None
    files: frozenset[str] = frozenset()


def find_labels(rule: LabelRule, names: Collection[str], read: Callable[[str, int], bytes], where: str) -> FoundLabels:
    """Labels in the list that the rule names, and in StyleGAN's ``dataset.json``.

    ``read`` gives the bytes of a file up to a limit, or raises PictureError. SourceError when the rule's list is not
    there or cannot be read.
    """
    own = listed = None
    files = set()
    if rule.kind == "list":
        if not stays_inside(rule.argument):
            raise SourceError(f"identity list {rule.argument}: should lie inside {where}")
        if rule.argument not in names:
            raise SourceError(f"{where}: no file {rule.argument} in it, which the identity rule names")
        try:
            listed = labels_from(read(rule.argument, MAX_LIST_BYTES), f"{where}:{rule.argument}")
        except ImageError as error:
            raise SourceError(f"{where}:{rule.argument}: {error}") from None
        files.add(rule.argument)
    if STYLEGAN_LABELS in names:
        with contextlib.suppress(ImageError):
            own = stylegan_labels(read(STYLEGAN_LABELS, MAX_JSON_BYTES))
        if own is not None:
            files.add(STYLEGAN_LABELS)
    return FoundLabels(own, listed, frozenset(files))


def class_of(label: object) -> str | None:
    """A whole number or a one-hot vector as a label; None for anything else."""
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
        return str(label.index(1))
    return None


def read_labels(path: Path) -> dict[str, str]:
    """The label of each name in a text file of lines `name label`; SourceError when there are none."""
    return labels_from(read_file(path, MAX_LIST_BYTES), str(path))
