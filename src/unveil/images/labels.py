"""Text files that list images: `path`, `path label`, or StyleGAN's dataset.json."""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.image_like import MIN_PIXELS, may_be_image, shows_image
from unveil.images.label_rule import SPLITS, LabelRule
from unveil.images.label_values import label_of
from unveil.images.source import MAX_LIST_BYTES, ListedLabels, in_any_form, printable, read_file, stays_inside
from unveil.images.unread import SHOWN_CHARACTERS
from unveil.io.text import composed
from unveil.io.unique_keys import KeyTwiceError, every_key_once

# Where StyleGAN2 and StyleGAN3 store the labels of a folder or zip of images.
STYLEGAN_LABELS = "dataset.json"
# JSON takes up to twenty times its size in memory: a limit for any set, and more for each file of a large one.
MAX_JSON_BYTES, JSON_BYTES_PER_NAME = 2**25, 2**8
# Lists and objects of JSON, of which an empty one takes 64 bytes in memory and two in the file.
MAX_JSON_LISTS, JSON_LISTS_PER_NAME = 2**20, 4
# Of a list in a container, which may be compressed to nothing: a limit for any set, and more for each file.
MAX_PACKED_BYTES, PACKED_BYTES_PER_NAME = 2**26, 2**12
MAX_PACKED_LINES, PACKED_LINES_PER_NAME = 2**20, 2
# What the column of paths and the column of people are called in a header.
PATH_HEADERS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "img", "image_path", "img_path"),
    *("image_name", "img_name", "image_id", "name"),
)
LABEL_HEADERS = (
    *("person", "person_id", "identity", "identity_id", "label", "subject", "subject_id", "class", "id"),
    *("person_name", "subject_name", "identity_name", "class_name"),
)
# A header that may be that of people or of images.
AMBIGUOUS = "id"
# Headers of what is no person, although a list has no further column.
ATTRIBUTES = frozenset(
    {
        *("age", "gender", "sex", "male", "race", "ethnicity", "emotion", "expression", "pose", "yaw", "pitch", "roll"),
        *("split", "set", "partition", "fold", "subset", "index", "number", "no", "n", "rank", "score", "quality"),
        *("width", "height", "size", "bytes", "date", "year", "time", "url", "caption", "text", "source"),
        *("hash", "md5", "sha1", "sha256", "checksum", "bbox", "landmarks"),
        *("confidence", "distance", "cosine", "similarity"),
    }
)
LABEL_MAP_HEADERS = ["synthetic_label", "training_label"]
# Bytes of a line with a path and a label, lines that any list may have, and columns: each takes memory.
MIN_LINE_BYTES, SPARE_LINES, MAX_COLUMNS = 8, 2**20, 10_000
# Columns that a note shows.
SHOWN_COLUMNS = 5
# Between the columns of a list, besides tabs and white space.
DELIMITERS = (",", ";", "|")
_SUFFIX = r"\.(?:jpe?g|jpe|jfif|png|webp|bmp|p[bgp]m|tiff?|gif|avif|heic|jp2)"
# As `bytes.splitlines` splits, so that line numbers mean the same to the writers.
_LINE_END = re.compile(r"\r\n|\n|\r")
_WORDS = re.compile(r"[\s,;#\"]+")
_IMAGE_NAME = re.compile(rf".*{_SUFFIX}", re.IGNORECASE | re.DOTALL)
_IMAGE_AND_LABEL = re.compile(rf"(.*{_SUFFIX})\s+(\S.*)", re.IGNORECASE)


class Row(NamedTuple):
    """One line of a list: the path, its label, and the number of the line in the file, from 0."""

    path: str
    label: str | None
    line: int


@dataclass(frozen=True)
class ImageList:
    """The rows of a list, what the user should know of how it was read, and whether it names a column of people.

    ``column`` is the one of the paths, and ``others`` are those that name images as well.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()
    states_labels: bool = False
    column: str = ""
    others: tuple[str, ...] = ()


def parse_list(data: bytes, where: str, column: str | None = None) -> ImageList:
    """The paths and labels in a text file.

    One delimiter serves the whole file: a tab if any line has one; a comma or semicolon if every line has one and the
    first column holds the images; else white space after the name of the image. Otherwise lines are paths alone. The
    first column is the path and the second the label, unless a header names them. Cells may be quoted. Empty lines and
    lines that begin with # are skipped. Notes name other columns, and count comments and rows without a path.
    ``column`` is the header of the column to read. Raises SourceError when there is none, when the file is not UTF-8
    text, or when white space separates more than two columns.
    """
    every = _numbered_lines(data, where)
    for number, text in every:
        if len(text) > MAX_COLUMNS and max(map(text.count, ("\t", *DELIMITERS))) > MAX_COLUMNS:
            raise SourceError(
                f"{where}: expected lines `path,label`, found more than {MAX_COLUMNS:,} columns on line {number + 1}. "
                "Leave out the others"
            )
    lines = [(number, text) for number, text in every if not text.startswith("#")]
    if lines and all(text.startswith("{") and text.endswith("}") for _, text in lines):
        raise SourceError(f"{where}: expected lines `path,label`, found JSON. Write a path and a label into each line")
    chosen = None if column is None else column.strip().lower()
    found = _parsed(lines, where, chosen)
    if chosen is not None and found.column.strip("`").lower() != chosen:
        raise SourceError(f"{where}: expected a header that names the column {column}, found none. Add one")
    notes = list(found.notes)
    if comments := len(every) - len(lines):
        first = next(
            (number for number, text in every if text.startswith("#") and any(map(is_image_name, _WORDS.split(text)))),
            None,
        )
        named = "" if first is None else f", although line {first + 1} names an image"
        notes.append(f"{comments} lines of the list that begin with # are not read{named}")
    if pathless := [row.line for row in found.rows if not row.path]:
        notes.append(
            f"{len(pathless)} rows of the list have no path, the first on line {pathless[0] + 1}: they are not read"
        )
    return replace(found, rows=[row for row in found.rows if row.path], notes=tuple(notes))


def _parsed(lines: list[tuple[int, str]], where: str, column: str | None) -> ImageList:
    texts = [text for _, text in lines]
    if any("\t" in text for text in texts):
        cells = [_csv_cells(text, "\t") if '"' in text else text.split("\t") for text in texts]
        return _from_cells(lines, cells, where, column)
    split = [
        [_csv_cells(text, delimiter) for text in texts]
        for delimiter in DELIMITERS
        if texts and all(delimiter in text for text in texts)
    ]
    cut = next(
        (number for number, text in lines if text.count('"') % 2 and any(_goes_on(text, d) for d in DELIMITERS)), None
    )
    if cut is not None:
        raise SourceError(
            f"{where}: expected every row on a line of its own, found a quoted cell on line {cut + 1} that goes on "
            "behind it. Write the row on one line"
        )
    for cells in split:
        if _has_header(cells, column) or _names_images([row[0] for row in cells]):
            return _from_cells(lines, cells, where, column)
    if split and not _names_images(texts):
        return _from_cells(lines, split[0], where, column)
    if texts and all(len(text.split()) >= 2 for text in texts) and not _names_images(texts):
        return _from_words(lines, where)
    return ImageList([Row(text, None, number) for number, text in lines])


def _csv_cells(text: str, delimiter: str = ",") -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [""])
    except csv.Error:
        return text.split(delimiter)


def _goes_on(text: str, delimiter: str) -> bool:
    """Whether a quoted cell begins in a line, and does not end there."""
    begin = text.rfind(f'{delimiter}"')
    return begin >= 0 and text.count('"', begin) == 1


def _has_header(cells: list[list[str]], chosen: str | None) -> bool:
    """Whether the first row names a column of paths, and the rows below hold images there or it names one of people.

    The column that the user has ``chosen`` is one.
    """
    first, *rest = cells
    header = [cell.strip().lower() for cell in first]
    if chosen is not None:
        return chosen in header
    column = next((header.index(name) for name in PATH_HEADERS if name in header), None)
    if column is None or not rest:
        return False
    return any(name in header for name in LABEL_HEADERS) or _names_images(
        [row[column] for row in rest if column < len(row)]
    )


def is_image_name(path: str) -> bool:
    """Whether a path ends like the name of an image file."""
    return _IMAGE_NAME.fullmatch(path.strip()) is not None


def _names_images(texts: list[str]) -> bool:
    """Whether most texts end like the names of image files."""
    return 2 * sum(map(is_image_name, texts)) > len(texts)


def _from_cells(lines: list[tuple[int, str]], cells: list[list[str]], where: str, chosen: str | None) -> ImageList:
    """Rows from lines that are split into cells; those without a path are among them."""
    first, *rest = cells
    header = [cell.strip().lower() for cell in first]
    path, label = 0, 1
    states_labels = False
    names = [f"column {k + 1}" for k in range(max(len(row) for row in cells))]
    if _has_header(cells, chosen):
        path = (
            header.index(chosen) if chosen is not None else next(header.index(n) for n in PATH_HEADERS if n in header)
        )
        # Of three columns or more, none is taken for the people without a name that says so.
        other = (1 if path == 0 else 0) if len(names) == 2 else len(names)
        named = [name for name in LABEL_HEADERS if name in header and not _numbers_images(name, header, rest)]
        label = header.index(named[0]) if named else other
        states_labels = bool(named)
        if not named and label < len(names) and _is_no_person(header, rest, label):
            label = len(names)
        names[: len(header)] = [f"`{cell.strip()}`" for cell in first]
        lines, cells = lines[1:], rest
    rows = []
    for (number, _), row in zip(lines, cells, strict=True):
        text = label_of(row[label]) if label < len(row) else None
        rows.append(Row(row[path].strip() if path < len(row) else "", text, number))
    more = [k for k in range(len(names)) if k != path and any(k < len(row) and _is_image(row[k]) for row in cells)]
    others = [name for k, name in enumerate(names) if k not in (path, label)]
    notes: tuple[str, ...] = ()
    if others:
        unnamed = f" and {len(others) - SHOWN_COLUMNS} more" if len(others) > SHOWN_COLUMNS else ""
        shown = ", ".join(others[:SHOWN_COLUMNS])
        taken = "" if states_labels or label != 1 else f", and {names[1]} is taken for the people"
        notes = (f"of the list, {shown}{unnamed} is ignored: only a path and a label are read{taken}",)
    elif not states_labels and len(names) == 2 and label < len(names) and not names[label].startswith("column "):
        notes = (f"of the list, {names[label]} is taken for the people, whatever it is called",)
    if label == len(names) > 1:
        notes += ("no column of the list is named like people; call the one that names them `person`",)
    return ImageList(rows, notes, states_labels, names[path], tuple(names[k] for k in more))


def _is_no_person(header: list[str], rows: list[list[str]], at: int) -> bool:
    """Whether the other one of two columns is called like an attribute of images, or holds the splits of a set."""
    values = {row[at].strip().lower() for row in rows if at < len(row)}
    return (at < len(header) and header[at] in ATTRIBUTES) or values <= SPLITS


def _numbers_images(name: str, header: list[str], rows: list[list[str]]) -> bool:
    """Whether a column `id` is that of the images: no two rows share a value. People who have one image each are told
    apart without it."""
    at = header.index(name)
    values = [row[at] for row in rows if at < len(row)]
    return name == AMBIGUOUS and len(header) > 2 and len(set(values)) == len(values)


def _is_image(cell: str) -> bool:
    """Whether a cell names an image file, or is one as text."""
    long = len(cell) >= MIN_PIXELS and shows_image(cell.encode("utf-8", "surrogatepass"))
    return long or ("." in cell and is_image_name(cell))


def _from_words(lines: list[tuple[int, str]], where: str) -> ImageList:
    """Rows from lines `path label`, separated by white space."""
    found = [_IMAGE_AND_LABEL.fullmatch(text) for _, text in lines]
    if not all(found):
        pairs = [(number, text.rsplit(maxsplit=1)) for number, text in lines]
        return ImageList([Row(words[0], label_of(words[-1]), number) for number, words in pairs])
    rows = []
    for (number, text), match in zip(lines, found, strict=True):
        label = match[2] if match else ""
        if len(label.split()) > 1:
            raise SourceError(
                f"{where}: lines `path label` were expected, got `{text[:80]}`; separate the columns by tabs"
            )
        rows.append(Row(match[1] if match else "", label_of(label), number))
    return ImageList(rows)


def text_lines(data: bytes, where: str) -> list[tuple[int, str]]:
    """The lines of a UTF-8 text with their numbers, without empty ones and comments; SourceError when it is no text."""
    return [(number, line) for number, line in _numbered_lines(data, where) if not line.startswith("#")]


def _numbered_lines(data: bytes, where: str) -> list[tuple[int, str]]:
    """The lines of a UTF-8 text with their numbers, without empty ones."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: a list of images should be UTF-8 text ({error}). Save it as UTF-8") from None
    n_lines, most = data.count(b"\n") + data.count(b"\r"), max(SPARE_LINES, len(data) // MIN_LINE_BYTES)
    if n_lines > most:
        raise SourceError(
            f"{where}: expected at most {most:,} lines in a list of {len(data):,} bytes, found {n_lines:,}. Leave out "
            "empty lines"
        )
    lines = [(number, line.strip(" \r\n\f\v")) for number, line in enumerate(_LINE_END.split(text))]
    return [(number, line) for number, line in lines if line.strip()]


def labels_from(data: bytes, where: str) -> ListedLabels:
    """The label of each listed path; SourceError when the list has none, two for one path, or images beside them."""
    stylegan = stylegan_labels(data, where) if data.lstrip()[:1] == b"{" else None
    if stylegan is not None:
        return ListedLabels(stylegan)
    check_no_image(data, where)
    labels = ListedLabels()
    found = parse_list(data, where)
    labels.notes = found.notes
    for row in found.rows:
        if row.label and labels.setdefault(name := printable(row.path), row.label) != row.label:
            raise SourceError(f"{where}: `{name}` has the labels {labels[name]} and {row.label}; remove one of them")
    if not labels:
        raise SourceError(f"{where}: lines `path label` were expected, but no line has a label")
    return labels


def stylegan_labels(data: bytes, where: str, n_names: int = 0) -> dict[str, str] | None:
    """The label of each image in a StyleGAN ``dataset.json``, empty when it states none; None for any other file.

    ``n_names`` files are in the set. A label is a whole number or a one-hot vector. Other vectors, such as camera
    poses, are no people. Raises SourceError for an image with two labels, for a key that stands twice, and for an image
    beside the labels.
    """
    document = _json(data, where, n_names)
    if not isinstance(document, dict) or "labels" not in document:
        return None
    rows = [] if document["labels"] is None else document["labels"]
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        return None
    _check_no_image(document, data, where)
    labels: dict[str, str] = {}
    for row in rows:
        label = label_of(row[1])
        if label is not None and labels.setdefault(name := printable(row[0]), label) != label:
            raise SourceError(
                f"{STYLEGAN_LABELS}: expected one label for each image, found {labels[name]} and {label} for `{name}`. "
                "Remove one of them"
            )
    return labels


def _is_row(row: object) -> bool:
    """Whether a value is a row of StyleGAN's labels: a name and a label."""
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)


def check_no_image(data: bytes, where: str) -> Any:
    """Raises SourceError if a file of labels holds an image beside them, as bytes, text or numbers, or JSON with a key
    that stands twice. Returns the JSON in it, None where it is none."""
    document = _json(data, where)
    _check_no_image(document, data, where)
    return document


def _json(data: bytes, where: str, n_names: int = 0) -> Any:
    """The table or list of JSON in a file of a set of ``n_names``; None where it holds none, or too large a one.

    Raises SourceError for a key that stands twice.
    """
    n_lists = data.count(b"[") + data.count(b"{")
    if len(data) > max_json_bytes(n_names) or n_lists > MAX_JSON_LISTS + JSON_LISTS_PER_NAME * n_names:
        return None
    # JSON may also be in UTF-16 and UTF-32, where every second byte is zero, and begin with the mark of UTF-8.
    if b"\0" not in data[:4] and data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data, object_pairs_hook=every_key_once)
    except KeyTwiceError as error:
        raise SourceError(
            f"{where}: expected every key once in a table of JSON, found `{printable(error.key)[:SHOWN_CHARACTERS]}` "
            "several times. Remove all but one"
        ) from None
    except (ValueError, RecursionError):
        return None


def _check_no_image(document: Any, data: bytes, where: str) -> None:
    text = data
    if document is not None and (b"\0" in data[:4] or b"\\" in data):
        # Escapes of JSON could hide the text of an image.
        text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    others, vectors = document, []
    if isinstance(document, dict) and isinstance(rows := document.get("labels"), list):
        others = {**document, "labels": [row for row in rows if not _is_row(row)]}
        vectors = [row[1] for row in rows if _is_row(row) and label_of(row[1]) is None]
    if shows_image(text) or may_be_image(others) or any(map(may_be_image, vectors)):
        raise SourceError(
            f"{where}: expected labels alone, found an image or as many numbers among them. Save images as files of "
            "their own, or remove them"
        )


def max_json_bytes(n_names: int) -> int:
    """The largest ``dataset.json`` that is read for a set of so many files."""
    return MAX_JSON_BYTES + JSON_BYTES_PER_NAME * n_names


@dataclass(frozen=True)
class FoundLabels:
    """The labels in the files of a container.

    ``stored`` are those of a StyleGAN ``dataset.json`` by name, None without one. ``listed`` are those of the list that
    the rule names. ``files`` held them, and are no images.
    """

    stored: dict[str, str] | None = None
    listed: ListedLabels | None = None
    files: frozenset[str] = frozenset()


def find_labels(rule: LabelRule, names: Collection[str], read: Callable[[str, int], bytes], where: str) -> FoundLabels:
    """Labels in the list that the rule names, and in StyleGAN's ``dataset.json``.

    ``read`` returns the bytes of a file up to a limit, or raises ImageError. Raises SourceError when the list of the
    rule is missing or cannot be read.
    """
    stored = listed = None
    files = set()
    if rule.kind == "list":
        if not stays_inside(rule.argument):
            raise SourceError(f"label list {rule.argument}: the file should lie inside {where}")
        if rule.argument not in names:
            raise SourceError(f"{where}: there is no file {rule.argument} in it, which the label rule names")
        try:
            data = read(rule.argument, min(MAX_LIST_BYTES, MAX_PACKED_BYTES + PACKED_BYTES_PER_NAME * len(names)))
            _check_lines(data, MAX_PACKED_LINES + PACKED_LINES_PER_NAME * len(names))
            listed = labels_from(data, f"{where}:{rule.argument}")
        except ImageError as error:
            raise SourceError(f"{where}:{rule.argument}: {error}") from None
        files.add(rule.argument)
    if STYLEGAN_LABELS in names:
        with contextlib.suppress(ImageError):
            data = read(STYLEGAN_LABELS, max_json_bytes(len(names)))
            stored = stylegan_labels(data, f"{where}:{STYLEGAN_LABELS}", len(names))
        if stored is not None:
            files.add(STYLEGAN_LABELS)
        if stored:
            stored = dict(in_any_form(stored, [printable(name) for name in names], where))
        if stored and not any(printable(name) in stored for name in names):
            other = next((printable(name) for name in sorted(names) if name != STYLEGAN_LABELS), "none")
            raise SourceError(
                f"{where}: expected labels of its images in {STYLEGAN_LABELS}, found those of other paths: an image is "
                f"`{other}`, the file has `{next(iter(stored))}`. Name the images in it like the first, or remove it"
            )
    return FoundLabels(stored, listed, frozenset(files))


def _check_lines(data: bytes, most: int) -> None:
    n = data.count(b"\n") + data.count(b"\r")
    if n > most:
        raise ImageError("read", "list too long", f"{n} lines, at most {most} are read for so many images")


def labels_beside(rule: LabelRule, blob: Blob) -> ListedLabels | None:
    """The labels in the list that the rule names, a file beside the container; None for any other rule.

    Raises SourceError when there is no such file, or when it has no labels.
    """
    if rule.kind != "list":
        return None
    name = rule.argument
    found = blob.sibling(name) if "/" not in name and "\\" not in name else None
    if found is None:
        raise SourceError(f"{blob.where}: no file {name} beside it, which the label rule names")
    return labels_from(found.read_all(MAX_LIST_BYTES), f"{blob.where}:{name}")


def read_label_map(path: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of a synthetic and a training label from a text file with two columns, separated by tabs or commas.

    A first line with LABEL_MAP_HEADERS is skipped. Raises SourceError for a line without two labels, for a label that
    is named twice in its column, and for a file without pairs.
    """
    lines = text_lines(read_file(path, MAX_LIST_BYTES), str(path))
    pairs: list[tuple[str, str]] = []
    named: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for number, text in lines:
        cells = [label_of(cell) for cell in (text.split("\t") if "\t" in text else _csv_cells(text))]
        if not pairs and cells == LABEL_MAP_HEADERS:
            continue
        if len(cells) != 2 or cells[0] is None or cells[1] is None:
            raise SourceError(
                f"{path}: expected a synthetic and a training label on every line, found `{printable(text[:80])}` on "
                f"line {number + 1}. Separate them by a tab or a comma"
            )
        for label, known in zip((cells[0], cells[1]), named, strict=True):
            if label in known:
                raise SourceError(
                    f"{path}: expected each label once in its column, found `{label[:80]}` on lines "
                    f"{known[label] + 1} and {number + 1}. Remove one of them"
                )
            known[label] = number
        pairs.append((cells[0], cells[1]))
    if not pairs:
        raise SourceError(f"{path}: expected lines `synthetic label, training label`, found none. Add them")
    return tuple(pairs)


def read_labels(path: Path) -> dict[str, str]:
    """The label of each name in a text file of lines `name label`, also by its composed form, as people have it.

    Raises SourceError when there are none, and for two labels of names that differ in their form alone.
    """
    labels = labels_from(read_file(path, MAX_LIST_BYTES), str(path))
    for name, label in list(labels.items()):
        if labels.setdefault(composed(name), label) != label:
            raise SourceError(
                f"{path}: `{composed(name)}` has the labels {labels[composed(name)]} and {label}, by names that differ "
                "in how letters and accents are written alone; remove one of them"
            )
    return labels
