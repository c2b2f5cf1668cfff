"""A RecordIO file with its index, written without some of its records."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from unveil.errors import ImageError, SourceError
from unveil.images.blob import Blob
from unveil.images.readers import recordio
from unveil.images.source import MAX_LIST_BYTES
from unveil.types import Ints

PROPERTY, MAX_PROPERTY = "property", 1 << 16


def write_recordio(source: recordio.RecordIOSource, out: Path, removed: Collection[str]) -> None:
    """The other records as they were, with an index.

    Where InsightFace's first record states which keys are images, the images are numbered again from 1 and the ranges
    of people are adapted. Labels do not change, so a person who is removed leaves a gap.
    """
    blob = source.blob
    keys, offsets, _ = recordio.index_of(blob)
    extents = np.diff(np.append(offsets, blob.size))
    gone = {int(record.key.split()[0]) for record in source.records if record.id in removed}
    images = {int(record.key.split()[0]) for record in source.records} - gone
    ranges = _ranges(source, blob, keys, offsets, extents)
    if ranges is not None and recordio.keys_twice(keys):
        raise SourceError(
            f"{source.where}: expected each key once beside ranges of keys, found several records of one; use "
            "--as-folder"
        )
    numbers: dict[int, int] = {}
    with (out / blob.name).open("wb") as rec, (out / recordio.idx_name(blob)).open("w") as idx:

        def add(key: int, data: bytes) -> None:
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(data)

        staying = [i for i, offset in enumerate(offsets.tolist()) if offset in images]
        if ranges is None:
            for i in staying:
                numbers[int(keys[i])] = int(keys[i])
                add(int(keys[i]), blob.read(int(offsets[i]), int(extents[i])))
        else:
            numbers = {int(keys[i]): n for n, i in enumerate(staying, 1)}
            people = [[numbers[key] for key in range(first, last) if key in numbers] for first, last in ranges]
            people = [own for own in people if own]
            n = len(staying) + 1
            add(0, _record(0, n, n + len(people)))
            for number, i in enumerate(staying, 1):
                add(number, blob.read(int(offsets[i]), int(extents[i])))
            for key, own in enumerate(people, n):
                add(key, _record(key, own[0], own[-1] + 1))
    # No line says which of several records of a key it is that of, although one may be left.
    shared = recordio.keys_twice(keys)
    _write_side_files(blob, out, {key: number for key, number in numbers.items() if key not in shared})


def _record(key: int, *labels: float) -> bytes:
    """A record of labels without an image."""
    payload = struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0, key, 0, *labels)
    return recordio.MAGIC_BYTES + struct.pack("<I", len(payload)) + payload


def _ranges(
    source: recordio.RecordIOSource, blob: Blob, keys: Ints, offsets: Ints, extents: Ints
) -> list[tuple[int, int]] | None:
    """The keys of each person, first and one past the last, as InsightFace's last records state them; None without
    InsightFace's first record."""
    if source.first_not_image is None:
        return None
    ranges = []
    for key, offset, extent in zip(keys.tolist(), offsets.tolist(), extents.tolist(), strict=True):
        if key < source.first_not_image or key == 0:
            continue
        try:
            payload = recordio.read_record(blob, offset, extent, 1 << 16)
            flag = int.from_bytes(payload[:4], "little")
            first, last = struct.unpack_from("<2f", payload, 24) if flag == 2 else (0.0, 0.0)
        except (ImageError, struct.error):
            raise SourceError(
                f"{source.where}: a damaged record of a person at byte {offset}; use --as-folder"
            ) from None
        ranges.append((int(first), int(last)))
    return ranges


def _write_side_files(blob: Blob, out: Path, numbers: Mapping[int, int]) -> None:
    """Lists of the paths of the records with the new numbers, and InsightFace's `property` unchanged."""
    for file in recordio.lists_beside(blob):
        lines = []
        for line in file.read_all(MAX_LIST_BYTES).decode("utf-8", "surrogateescape").splitlines():
            key, tab, rest = line.partition("\t")
            if not key.isdecimal() or len(key) > recordio.MAX_DIGITS or not tab:
                lines.append(line)
            elif int(key) in numbers:
                lines.append(f"{numbers[int(key)]}\t{rest}")
        text = "".join(f"{line}\n" for line in lines)
        (out / file.name).write_bytes(text.encode("utf-8", "surrogateescape"))
    properties = blob.sibling(PROPERTY)
    if properties is not None:
        (out / PROPERTY).write_bytes(properties.read_all(MAX_PROPERTY))
