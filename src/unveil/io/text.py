"""Text from files, archives and the network, made safe to store and to show."""

from __future__ import annotations


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
