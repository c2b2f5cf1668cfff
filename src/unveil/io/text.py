"""Text from files, archives and the network, made safe to store and to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any


def printable(text: str, keep: str = "") -> str:
    """The same text without undecodable bytes and control characters, which become backslash escapes.

    ``keep`` holds control characters that are left as they are, for example the end of a line.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def composed(text: str) -> str:
    """The same text with each letter and its accents as one character, as far as Unicode has it.

    File systems and keyboards write a name in one form or the other, and both look alike.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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
