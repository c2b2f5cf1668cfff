"""Memory for the pixels of images: one budget for all threads of a process, whatever the images are."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from unveil.io.host import cores

# The bytes that one image may take, and what each core adds to the budget of a process. A photograph of 12 million
# pixels takes 120 MB with a border around it.
MAX_IMAGE_BYTES, BYTES_PER_CORE = 600_000_000, 160_000_000

_local = threading.local()


class MemoryBudget:
    """At most ``limit`` bytes at a time. Threads wait in the order in which they ask; one alone is never refused."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, n: int) -> None:
        """Takes ``n`` bytes, after waiting until they fit or nobody else has any."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (not self._used or self._used + n <= self.limit)
                )
                self._used += n
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, n: int) -> None:
        """Gives ``n`` bytes back."""
        with self._changed:
            self._used -= n
            self._changed.notify_all()


IMAGES = MemoryBudget(max(MAX_IMAGE_BYTES, BYTES_PER_CORE * cores()))


@contextlib.contextmanager
def held_memory() -> Iterator[None]:
    """What `image_memory` takes within is held until the end of the outermost block: pixels outlive their decoding."""
    if getattr(_local, "held", None) is not None:
        yield
        return
    _local.held = 0
    try:
        yield
    finally:
        n, _local.held = _local.held, None
        IMAGES.give_back(n)


@contextlib.contextmanager
def image_memory(n: int) -> Iterator[None]:
    """Waits until this thread may use ``n`` bytes for images, those that it holds already included."""
    with held_memory():
        if n > _local.held:
            # Threads that wait for more while they hold some could wait for each other.
            before, _local.held = _local.held, 0
            IMAGES.give_back(before)
            IMAGES.take(n)
            _local.held = n
        yield
