"""A cache of the values that were used last, for readers that unpack one block for many rows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most ``size`` values by key; the one that has not been used for the longest time is dropped first.

    Several take at most ``limit`` in all, as ``weigh`` states it.
    """

    def __init__(self, size: int, limit: int = 0, weigh: Callable[[V], int] = lambda value: 0) -> None:
        self._size, self._limit, self._weigh = size, limit, weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if it is missing; two threads may make the same value at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size or (len(self._values) > 1 and self._weight() > self._limit):
                self._values.popitem(last=False)
        return value

    def _weight(self) -> int:
        return sum(map(self._weigh, self._values.values()))
