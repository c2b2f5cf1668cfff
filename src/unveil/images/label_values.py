"""One function turns a stored value into a person label, or into no label."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from unveil.errors import SourceError
from unveil.images.source import printable
from unveil.io.text import composed

# A longer text is shortened to its first characters and its digest. It is still long enough to be noted.
MAX_LABEL_CHARACTERS, SHOWN_OF_LONG = 4096, 1024
# What writers store where there is no label.
NO_LABEL = -1
# What looks like a character that is shown by its number.
_ESCAPES = re.compile(r"\\[\\xuU]")
# The same as text, as NumPy, pandas, Python, JSON and SQL write it. Nan and Null are names of people.
NO_LABEL_TEXTS = frozenset(("", "-1", "nan", "NaN", "NAN", "none", "None", "null", "NULL", "<NA>"))


def label_of(value: object) -> str | None:
    """The label in a value that a container stores; None where the value states none.

    Whole numbers, text, and one-hot vectors are labels. None, NaN, -1, empty text, the same as words, truth values and
    other vectors, such as camera poses, are not. A list or array of one value counts as that value. Raises SourceError
    for a float that may stand for several whole numbers (`check_exact`).
    """
    if isinstance(value, (np.generic, np.ndarray)):
        check_exact(value)
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        # Python turns no number of more than 4,300 decimal digits into text.
        if value.bit_length() > MAX_LABEL_CHARACTERS:
            return _shortened(f"{value:x}")
        return None if value == NO_LABEL else str(value)
    if isinstance(value, float):
        return _of_float(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        text = value.strip()
        if len(text) > MAX_LABEL_CHARACTERS:
            return _shortened(text)
        return None if text in NO_LABEL_TEXTS else _shown(text)
    return _of_list(value) if isinstance(value, (list, tuple)) else None


def labels_of(values: Iterable[object]) -> list[str | None]:
    """The label in each of many values.

    Equal labels are one object: a small file may repeat a long label in every row.
    """
    known: dict[str, str] = {}
    of_value: dict[type, dict[object, str | None]] = {str: {}, int: {}}  # most labels are of several images

    def shared(value: object) -> str | None:
        label = label_of(value)
        return None if label is None else known.setdefault(label, label)

    labels = []
    for value in values:
        seen = of_value.get(type(value))
        if seen is None:
            labels.append(shared(value))
            continue
        if value not in seen:
            seen[value] = shared(value)
        labels.append(seen[value])
    return labels


def _shortened(text: str) -> str:
    """A text that is too long for a label: its first characters, and its digest, so that others differ."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return _shown(f"{text[:SHOWN_OF_LONG]}... ({len(text):,} characters, SHA-256 {digest})")


def _shown(text: str) -> str:
    """The text as it is shown. Texts that differ stay different: one with a control character, one with its escape."""
    text = composed(text)
    shown = printable(text)
    if shown == text and not _ESCAPES.search(text):
        return text
    return printable(text.replace("\\", "\\\\"))


def check_exact(values: Any) -> None:
    """Raises SourceError for floats of an array, of any shape, that their type does not keep apart from others.

    float16 holds whole numbers up to 2,048, float32 up to 16,777,216 and float64 up to 2**53.
    """
    if values.dtype.kind != "f" or not values.size:
        return
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0))
    if largest >= 2.0 ** (np.finfo(values.dtype).nmant + 1):
        raise SourceError(
            f"expected labels as text or whole numbers, found the {values.dtype} {largest!r}, which may stand for "
            "several people. Store text or integers; pandas has Int64 for integers with missing values"
        )


def _of_float(value: float) -> str | None:
    if not math.isfinite(value) or value == NO_LABEL:
        return None
    check_exact(np.float64(value))
    return str(int(value)) if value.is_integer() else repr(value)


def _of_list(value: list[Any] | tuple[Any, ...]) -> str | None:
    item: Any = value
    while isinstance(item, (list, tuple)) and len(item) == 1:  # not by recursion: the list may be thousands deep
        item = item[0]
    if not isinstance(item, (list, tuple)):
        return label_of(item)
    value = item
    if not all(isinstance(v, (int, float)) for v in value):
        return None
    return str(value.index(1)) if value.count(1) == 1 and value.count(0) == len(value) - 1 else None
