"""Large data as a mapping: of a file, or of a temporary one into which it is unpacked."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from unveil.errors import DiskFullError

# Up to so many bytes stay in memory.
IN_MEMORY = 64 * 2**20
CRC_CHUNK = 1 << 24


def map_file(path: Path) -> memoryview:
    """The bytes of a file, mapped read-only. Raises OSError, and ValueError for an empty file."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def crc32_of(data: memoryview) -> int:
    """The CRC-32 of some bytes, as zip archives state it."""
    value = 0
    for start in range(0, len(data), CRC_CHUNK):
        value = zlib.crc32(data[start : start + CRC_CHUNK], value)
    return value


class Spool:
    """Bytes that are added one block after the other: in memory, from ``in_memory`` bytes on in a temporary file."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self.size = 0
        self._in_memory, self._held = in_memory, bytearray()
        self._file: IO[bytes] | None = None
        self._space = shutil.disk_usage(tempfile.gettempdir()).free // 2

    def add(self, block: bytes | memoryview) -> None:
        """Adds some bytes. Raises DiskFullError when all of them need more than half of the free space."""
        self.size += len(block)
        if self._file is None and len(self._held) + len(block) < self._in_memory:
            self._held += block
            return
        if self.size > self._space:
            raise DiskFullError(
                f"a file of more than half of the free space of {tempfile.gettempdir()} is needed; set TMPDIR to "
                "another disk"
            )
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `view`, or with this object)
            self._file.write(self._held)
            self._held = bytearray()
        self._file.write(block)

    def view(self, *, writable: bool = False) -> memoryview:
        """All bytes; nothing can be added any more. A file has no name and ends with its mapping."""
        if self._file is None:
            held = memoryview(self._held)
            return held if writable else held.toreadonly()
        with self._file as file:
            file.flush()
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            return memoryview(mmap.mmap(file.fileno(), 0, access=access))


def unpack_blocks(blocks: Iterable[bytes], limit: int, in_memory: int = IN_MEMORY) -> memoryview:
    """The bytes of all blocks, read-only; from ``in_memory`` bytes on in a mapped temporary file without a name.

    Blocks beyond ``limit`` bytes are left out. Raises DiskFullError when they need more than half of the free space.
    """
    spool = Spool(in_memory)
    for block in blocks:
        spool.add(block[: limit - spool.size])
        if spool.size == limit:
            break
    return spool.view()


def filled(shape: tuple[int, ...], value: float, kind: type[np.generic]) -> npt.NDArray[Any]:
    """An array of one value, from IN_MEMORY bytes on in a mapped temporary file without a name.

    Raises DiskFullError when it needs more than half of the free space.
    """
    n, itemsize = math.prod(shape), np.dtype(kind).itemsize
    if n * itemsize < IN_MEMORY:
        return np.full(shape, value, kind)
    spool, block = Spool(IN_MEMORY), np.full(IN_MEMORY // itemsize, value, kind)
    for start in range(0, n, len(block)):
        spool.add(block[: n - start].data.cast("B"))
    return np.frombuffer(spool.view(writable=True), kind).reshape(shape)
