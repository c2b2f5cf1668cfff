"""The threads of the BLAS library, which wait for each other by turning in a loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


class _Limit:
    """One thread while anybody asks for it; then as many as before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._exit = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._exit.enter_context(ThreadpoolController().limit(limits=1, user_api="blas"))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._exit.close()


# Within the block, products of NumPy use one thread. Where products are small and other programs use the cores, more
# threads wait longer than they compute: choosing the order of dimensions took 6 CPU seconds instead of 0.2.
single_blas_thread = _Limit()
