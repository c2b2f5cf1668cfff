"""Text from files, archives and the network, made safe to store and to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

# As Unicode's stream-safe form has them (UAX 15). In a short text, more cost nothing.
MAX_ACCENTS, SHORT = 30, 256


def printable(text: str, keep: str = "") -> str:
    """The same text without undecodable bytes and control characters, which become backslash escapes.

    ``keep`` holds control characters that are left as they are, for example the end of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a character of UTF-16, as JSON may hold
        text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def composed(text: str) -> str:
    """The same text with each letter and its accents as one character, as far as Unicode has it.

    File systems and keyboards write a name in one form or the other, and both look alike. A text with more than
    MAX_ACCENTS accents in a row is no name and stays as it is: they are sorted in the square of their number.
    """
    return text if text.isascii() or _is_no_name(text) else unicodedata.normalize("NFC", text)


def decomposed(text: str) -> str:
    """The same text with each letter and each of its accents as a character of its own; as `composed` otherwise."""
    return text if text.isascii() or _is_no_name(text) else unicodedata.normalize("NFD", text)


def compatible(text: str) -> str:
    """The same text without differences of width and typography; as `composed` otherwise."""
    return text if text.isascii() or _is_no_name(text) else unicodedata.normalize("NFKC", text)


def _is_no_name(text: str) -> bool:
    if len(text) <= SHORT:
        return False
    run = 0
    for character in text:
        run = run + 1 if _is_accent(character) else 0
        if run > MAX_ACCENTS:
            return True
    return False


@lru_cache(4096)
def _is_accent(character: str) -> bool:
    """Whether a character is an accent, or begins with one when it is taken apart."""
    return unicodedata.combining(unicodedata.normalize("NFKD", character)[0]) > 0


def same_but_for_form(written: Iterable[str], known: Iterable[str]) -> dict[str, list[str]]:
    """The ``known`` texts that differ from each ``written`` one in how letters and accents are written alone.

    Those without one are left out. Texts that are known as they are should not be among the written ones.
    """
    sought: dict[str, list[str]] = {}
    for text in written:
        if not text.isascii():
            sought.setdefault(composed(text), []).append(text)
    found: dict[str, list[str]] = {}
    for text in known if sought else ():
        for one in () if text.isascii() else sought.get(composed(text), ()):
            found.setdefault(one, []).append(text)
    return found


def printable_document(value: Any) -> Any:
    """The same JSON value with every text in it `printable`, also those that name a value."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_document(one) for one in value]
    if isinstance(value, dict):
        return {printable(name): printable_document(one) for name, one in value.items()}
    return value
