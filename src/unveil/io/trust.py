"""Whether this user made a run or a guard. Only then do the places that it records count.

A run from somebody else is a file like any other: it must not decide where images are read, or where anything is
written. Documents are signed with a key of the user that no document contains.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from unveil.io.regular import read_regular

# The name of the signature in a document.
SIGNATURE = "signature"
KEY_BYTES = 32


def key_file() -> Path:
    """The file of the user's key: ``UNVEIL_KEY``, else in the user's data folder."""
    place = os.environ.get("UNVEIL_KEY")
    return Path(place) if place else platformdirs.user_data_path("unveil") / "key"


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the user's signature; the key is made if there is none.

    Where no key can be stored, the document stays unsigned: it then counts as somebody else's.
    """
    values = {name: value for name, value in document.items() if name != SIGNATURE}
    with contextlib.suppress(OSError):
        _make_key()
    key = _key()
    return values if key is None else {**values, SIGNATURE: _signature(key, values)}


def is_own(document: Mapping[str, Any]) -> bool:
    """Whether this user signed the document, and nothing in it has changed since."""
    values, key, found = dict(document), _key(), document.get(SIGNATURE)
    values.pop(SIGNATURE, None)
    return key is not None and isinstance(found, str) and hmac.compare_digest(found, _signature(key, values))


def _key() -> bytes | None:
    try:
        key = read_regular(key_file(), KEY_BYTES)
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _make_key() -> None:
    file = key_file()
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".key.")
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(secrets.token_bytes(KEY_BYTES))
        # A link fails if another process was first: both then use the same key.
        with contextlib.suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def _signature(key: bytes, values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True).encode()
    return hmac.new(key, b"unveil\0" + text, hashlib.sha256).hexdigest()
