"""Which pictures are being looked at, on disk: should one end the process, the next run can name it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unveil.progress import Progress

logger = logging.getLogger(__name__)

SLOT = 512  # bytes for an id; a longer one is cut


@contextlib.contextmanager
def mark_in_progress(file: Path, label: str, progress: Progress) -> Iterator[Callable[[str], None]]:
    """What is to be told of each picture before it is decoded, from any thread. What a run that was killed left in the
    file is said first; the file goes when the block ends."""
    left = _read(file)
    if left:
        names = ", ".join(f"`{name}`" for name in left)
        logger.warning(
            f"{label}: the last run ended while it looked at {names}. Should it end there again, one of them ends the "
            "decoder: --engine ray finds out which and goes on without it"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    slots: dict[int, int] = {}
    lock = threading.Lock()

    def looking(id: str) -> None:
        with lock:
            slot = slots.setdefault(threading.get_ident(), len(slots))
        data = id.encode("utf-8", "replace")[: SLOT - 1]
        os.pwrite(descriptor, data.ljust(SLOT, b"\0"), slot * SLOT)

    try:
        yield looking
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def _read(file: Path) -> list[str]:
    try:
        data = file.read_bytes()
    except OSError:
        return []
    slots = (data[i : i + SLOT].split(b"\0")[0] for i in range(0, len(data), SLOT))
    return sorted({slot.decode("utf-8", "replace") for slot in slots if slot})
