"""An LMDB, written without some of its images."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgpack

from unveil.errors import SettingError, SourceError
from unveil.images.blob import Blob
from unveil.images.readers import lmdb as reader
from unveil.images.readers.lmdb_pages import Value, database_name, entries
from unveil.images.writers.base import library

# Values that one transaction writes.
IN_TRANSACTION = 10_000
MAX_METADATA = 1 << 30
SPARE_BYTES = 1 << 28
# Free bytes below which a disk counts as full.
SPARE_PAGES = 1 << 20
COUNTS, KEYS = (b"length", b"__len__", b"num-samples"), b"__keys__"
# A count up to which programs number the keys by themselves.
COUNT_OF_KEYS = b"num-samples"
_NUMBERED = re.compile(rb"(.*?)(\d+)", re.DOTALL)
_NUMBERED_ALONE = re.compile(rb"(\d+-)?(\d+)")


def write_lmdb(source: reader.LMDBSource, out: Path, removed: Collection[str]) -> None:
    """The other values as they were, with counts and lists of keys that fit them.

    Where keys are consecutive numbers, those of the copy are too: readers count through them. A word before the number
    may stand where ``num-samples`` states how many there are. Labels do not change. Of a masked set, the images that
    the mask selects are written. Raises SettingError when the database stores a count or a list of keys in a way that
    is not written.
    """
    lmdb = library("lmdb", source.kind)
    blob = source.blob
    images = source.images()
    staying = [key for (key, _), record in zip(images, source.records, strict=True) if record.id not in removed]
    counted = any(key == COUNT_OF_KEYS for key, _ in entries(blob))
    new_keys = _new_keys([key for key, _ in images], staying, _NUMBERED if counted else _NUMBERED_ALONE)
    if counted and new_keys is None:
        raise SettingError(
            f"{source.where}: {COUNT_OF_KEYS.decode()} was expected to count keys of images that are numbered without "
            "gaps, found others; use --as-folder"
        )
    new_keys = {key: key for key in staying} if new_keys is None else new_keys
    # In several resolutions, the smaller copies of an image stay with it.
    new_numbers = {key.rpartition(b"-")[2]: new.rpartition(b"-")[2] for key, new in new_keys.items()}
    written: dict[bytes, Value | bytes] = {}
    for key, value in entries(blob):
        if key in new_keys:
            written[new_keys[key]] = value
        elif key in reader.METADATA:
            data = blob.read_exactly(value.at, value.length, MAX_METADATA)
            written[key] = _metadata(source, key, data, [new_keys[old] for old in staying])
        elif source.resolution is not None:
            resolution, _, number = key.rpartition(b"-")
            if int(resolution) != source.resolution and number in new_numbers:
                written[resolution + b"-" + new_numbers[number]] = value
    if sum(value.length for value in written.values() if isinstance(value, Value)) > blob.size:
        raise SourceError(f"{source.where}: a damaged LMDB file, its values overlap; use --as-folder")
    name = database_name(blob)
    size = blob.size + sum(len(value) for value in written.values() if isinstance(value, bytes))
    keys = sorted(written)
    path = str(out / blob.name)
    try:
        with lmdb.open(path, subdir=False, lock=False, map_size=2 * size + SPARE_BYTES, max_dbs=1) as environment:
            database = environment.open_db(name)
            for start in range(0, len(keys), IN_TRANSACTION):
                with environment.begin(write=True, db=database) as transaction:
                    for key in keys[start : start + IN_TRANSACTION]:
                        transaction.put(key, _bytes(blob, written[key]), append=True)
    except lmdb.BadValsizeError as error:
        raise SettingError(f"{source.where}: an LMDB cannot hold its values ({error}); use --as-folder") from None
    except lmdb.DiskError as error:
        raise OSError(errno.ENOSPC, str(error)) from None
    except lmdb.Error as error:
        # A disk that fills while a transaction is written is an input/output error to the library.
        free = shutil.disk_usage(out).free
        code = errno.ENOSPC if free < SPARE_PAGES else errno.EIO
        raise OSError(code, str(error), path) from None


def _bytes(blob: Blob, value: Value | bytes) -> bytes:
    return value if isinstance(value, bytes) else blob.read_exactly(value.at, value.length, blob.size)


def _new_keys(keys: list[bytes], staying: list[bytes], numbered: re.Pattern[bytes]) -> dict[bytes, bytes] | None:
    """The key of each image in the copy: numbered again from the first number. None where the keys have gaps."""
    number_of = {key: match[2] for key in keys if (match := numbered.fullmatch(key))}
    numbers = sorted(map(int, number_of.values()))
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(keys))):
        return None
    width = min(map(len, number_of.values()))
    return {
        key: key[: len(key) - len(number_of[key])] + str(number).zfill(width).encode()
        for number, key in enumerate(sorted(staying, key=lambda key: int(number_of[key])), numbers[0])
    }


def _metadata(source: reader.LMDBSource, key: bytes, data: bytes, keys: list[bytes]) -> bytes:
    """A value that is no image, with the number or the keys of the images of the copy."""
    if key not in (*COUNTS, KEYS):
        return data
    if key in COUNTS and data.isdigit():
        return str(len(keys)).encode()
    try:
        stored: Any = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception:  # damaged data raise almost anything
        stored = None
    if key in COUNTS and isinstance(stored, int):
        return bytes(msgpack.packb(len(keys)))
    if key == KEYS and isinstance(stored, list) and all(isinstance(item, bytes) for item in stored):
        return bytes(msgpack.packb(keys))
    if key == KEYS and isinstance(stored, list) and all(isinstance(item, str) for item in stored):
        return bytes(msgpack.packb([name.decode("utf-8", "surrogateescape") for name in keys]))
    raise SettingError(
        f"{source.where}: numbers or lists of keys in msgpack were expected in {key.decode()}, got {data[:20]!r}; use "
        "--as-folder"
    )
