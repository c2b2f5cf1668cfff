"""Records on disk which images are being decoded, so that the next run can name the image that crashed a process."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unveil.io.private import make_private
from unveil.io.regular import read_regular

logger = logging.getLogger(__name__)

SLOT = 512  # bytes for an id; a longer id is truncated
MAX_BYTES = SLOT * 4096  # one id for each thread


@contextlib.contextmanager
def mark_in_progress(file: Path, label: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that records the id of an image before it is decoded; it may be called from any thread.

    First logs the ids that a killed run has left in ``file``. The file is removed when the block ends. A link or a pipe
    in its place is neither followed nor read.
    """
    left = _read_ids(file)
    if left:
        names = ", ".join(f"`{name}`" for name in left)
        logger.warning(
            "%s: the last run ended while it decoded %s. If this run ends too, one of them crashes the decoder; "
            "--engine ray finds it and rejects it",
            label,
            names,
        )
    make_private(file.parent)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    slots: dict[int, int] = {}
    lock = threading.Lock()

    def mark(id: str) -> None:
        with lock:
            slot = slots.setdefault(threading.get_ident(), len(slots))
        data = id.encode("utf-8", "replace")[: SLOT - 1]
        os.pwrite(descriptor, data.ljust(SLOT, b"\0"), slot * SLOT)

    try:
        yield mark
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def _read_ids(file: Path) -> list[str]:
    try:
        data = b"" if file.is_symlink() else read_regular(file, MAX_BYTES)
    except OSError:
        return []
    slots = (data[i : i + SLOT].split(b"\0")[0] for i in range(0, len(data), SLOT))
    return sorted({slot.decode("utf-8", "replace") for slot in slots if slot})
