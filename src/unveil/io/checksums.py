"""Checksums of files and documents, checked before anything in them is believed.

They show damage and parts that do not belong together. They are no signature: who writes a file can write its checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unveil.io.regular import check_stored, open_regular

# The key of a document that holds the SHA-256 of everything else in it.
SEAL = "sha256"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a regular file, as hexadecimal digits. Raises OSError for anything else and for a sparse file."""
    with open_regular(path) as file:
        check_stored(os.fstat(file.fileno()), path)
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the SHA-256 of its values, which are those of JSON."""
    return {**document, SEAL: document_sha256(document)}


def unsealed(document: Any) -> dict[str, Any]:
    """A document without its checksum. Raises ValueError if it has none or another one."""
    if not isinstance(document, dict):
        raise ValueError("no document")
    values = {name: value for name, value in document.items() if name != SEAL}
    if document.get(SEAL) != document_sha256(values):
        raise ValueError("its checksum is wrong")
    return values


def document_sha256(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a document of JSON values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
