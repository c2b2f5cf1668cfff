"""Tables of JSON and msgpack in which every key stands once: parsers keep one value of a repeated key alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from unveil.io.text import printable

# Characters of a key in a message.
MAX_KEY = 40


class KeyTwiceError(ValueError):
    """A table that has the key ``key`` several times."""

    def __init__(self, key: Any) -> None:
        super().__init__(f"a key stands in it twice: {printable(str(key))[:MAX_KEY]}")
        self.key = key


def every_key_once(pairs: list[tuple[Any, Any]], shown: Callable[[Any], Hashable] | None = None) -> dict[Any, Any]:
    """The table of these pairs, as a hook of parsers; KeyTwiceError for a key that it has several times.

    Keys that are equal as they are ``shown`` are one key.
    """
    found = dict(pairs)
    if len(found) == len(pairs) and (shown is None or len({shown(key) for key in found}) == len(pairs)):
        return found
    keys = [key if shown is None else shown(key) for key, _ in pairs]
    raise KeyTwiceError(Counter(keys).most_common(1)[0][0])
