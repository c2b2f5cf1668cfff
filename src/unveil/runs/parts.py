"""The files of a finished run that programs read, and how to see that they belong to one audit.

`manifest.json` and `audit.json` hold the same manifest. Every other part carries its key: a hash of that manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unveil.io.atomic import replacing
from unveil.results import plain
from unveil.types import Role

STATE = "stores/state.npz"
PAIRS, IMAGES, EXPOSURES = "pairs.parquet", "images.parquet", "exposures.parquet"
# The metadata of a Parquet file that holds the key, and the array of an npz file.
KEY = "unveil.audit"
FINGERPRINTS = "unveil.vectors"
# A vector file is read in full up to this many blocks, and in as many evenly spaced blocks beyond.
BLOCK, MAX_BLOCKS = 2**16, 256


class DifferentAuditError(ValueError):
    """A part of a run that belongs to another audit."""


def audit_key(manifest: Mapping[str, Any]) -> str:
    """The key of the audit with this manifest: its settings, the hashes of its inputs and its versions."""
    return hashlib.sha256(json.dumps(plain(manifest), sort_keys=True).encode()).hexdigest()


def write_part(path: Path, table: pa.Table, key: str, fingerprints: Mapping[str, str] | None = None) -> None:
    """A Parquet file with the key of its audit, and with the fingerprints of vector files."""
    metadata = {KEY: key, **({} if fingerprints is None else {FINGERPRINTS: json.dumps(dict(fingerprints))})}
    with replacing(path) as file:
        pq.write_table(table.replace_schema_metadata(metadata), file)


def read_part(path: Path, key: str) -> pa.Table:
    """The table of a part. Raises DifferentAuditError if it has another key, and OSError or ArrowException."""
    table = pq.read_table(path)
    check_key((table.schema.metadata or {}).get(KEY.encode(), b"").decode(), key)
    return table


def check_key(found: str, key: str) -> None:
    """Raises DifferentAuditError for another key."""
    if found != key:
        raise DifferentAuditError("the key of another audit")


def fingerprints_of(table: pa.Table) -> dict[str, str]:
    """The fingerprints of vector files that a part holds."""
    found: dict[str, str] = json.loads((table.schema.metadata or {})[FINGERPRINTS.encode()])
    return found


def fingerprint(path: Path) -> str:
    """A hash of the size of a file and of up to MAX_BLOCKS evenly spaced blocks of it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    n = -(-size // BLOCK)
    step = max(1, n // MAX_BLOCKS)
    with path.open("rb") as file:
        for block in range(0, n, step):
            file.seek(block * BLOCK)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def vector_file(run: Path, role: Role, channel: str) -> Path:
    """The file of a channel's vectors of one role."""
    stem = {"face": role, "appearance": f"{role}.appearance.whitened"}.get(channel, f"{role}.{channel}")
    return run / "stores" / f"{stem}.npy"


def role_file(run: Path, role: Role) -> Path:
    """The file of the ids, people and digests of one role's vectors."""
    return run / "stores" / f"{role}.parquet"
