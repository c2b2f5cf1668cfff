"""Large data as a mapping: of a file, or of a temporary one into which it is unpacked."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

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


def unpack_blocks(blocks: Iterable[bytes], limit: int, in_memory: int = IN_MEMORY) -> memoryview:
    """The bytes of all blocks, read-only; from ``in_memory`` bytes on in a mapped temporary file without a name.

    Blocks beyond ``limit`` bytes are left out. Raises DiskFullError when they need more than half of the free space.
    """
    held, size = bytearray(), 0
    folder = tempfile.gettempdir()
    space = shutil.disk_usage(folder).free // 2
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            part = block[: limit - size]
            size += len(part)
            held += part
            if len(held) >= in_memory:
                if size > space:
                    raise DiskFullError(
                        f"vectors unpack to more than half of the free space of {folder}; set TMPDIR to another disk"
                    )
                file.write(held)
                held = bytearray()
            if size == limit:
                break
        if not file.tell():
            return memoryview(bytes(held))
        file.write(held)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
