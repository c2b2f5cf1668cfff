"""Functions on the threads of this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ordered(
    function: Callable[[T], R], items: Iterable[T], workers: int, stop: threading.Event | None = None
) -> Generator[R, None, None]:
    """Results in the order of the items; at most twice as many items are in progress as there are workers.

    The first error ends the iteration. ``stop`` is then set, so that calls still running can end early.
    """
    pending = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="unveil") as pool:
        running: deque[Future[R]] = deque(pool.submit(function, item) for item in islice(pending, 2 * workers))
        try:
            while running:
                result = running.popleft().result()
                running.extend(pool.submit(function, item) for item in islice(pending, 1))
                yield result
        finally:
            if stop is not None:
                stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
