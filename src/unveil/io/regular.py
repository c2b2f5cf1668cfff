"""Regular files alone: a pipe, a socket or a device under a path from elsewhere is refused before it is read.

A file that is read whole may not be sparse either: it would cost its author nothing and its reader gigabytes.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# A file may state this many times the bytes that it takes on the disk, since some file systems compress, and a start.
MAX_SPARSE_RATIO, SPARE_BYTES = 64, 2**28
BLOCK_BYTES = 512


def regular_descriptor(path: str | Path) -> int:
    """A descriptor of a regular file, opened for reading. Raises OSError for anything else, without waiting."""
    # Without O_NONBLOCK, opening a named pipe would block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "a regular file was expected", str(path))


def open_regular(path: str | Path) -> BufferedReader:
    """A regular file, opened for reading. Raises OSError for anything else, without waiting."""
    return open(regular_descriptor(path), "rb")


def read_regular(path: str | Path, limit: int) -> bytes:
    """The bytes of a regular file. Raises OSError for anything else, and for more than ``limit`` bytes."""
    with open_regular(path) as file:
        check_stored(os.fstat(file.fileno()), path)
        # Python reserves what may be read: no more than there is.
        data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return data


def check_stored(status: os.stat_result, path: str | Path) -> None:
    """Raises OSError for a file that is almost all holes."""
    blocks = getattr(status, "st_blocks", None)  # not known on every system
    if blocks is not None and status.st_size > MAX_SPARSE_RATIO * BLOCK_BYTES * blocks + SPARE_BYTES:
        raise OSError(errno.EFBIG, f"{status.st_size} bytes, of which the disk holds {BLOCK_BYTES * blocks}", str(path))
