"""Whether this user made a run, a guard or the embeddings of a store. Only then do they decide anything.

A run from somebody else is a file like any other: it must not decide where images are read, or where anything is
written, and an audit does not continue from it. Documents are signed with a key of the user that no document contains.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from unveil.io.private import make_private
from unveil.io.regular import read_regular

logger = logging.getLogger(__name__)

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
    key = _made_key()
    return values if key is None else {**values, SIGNATURE: _signature(key, values)}


def is_own(document: Mapping[str, Any]) -> bool:
    """Whether this user signed the document, and nothing in it has changed since."""
    values, key, found = dict(document), _key(), document.get(SIGNATURE)
    values.pop(SIGNATURE, None)
    return key is not None and isinstance(found, str) and same_text(found, _signature(key, values))


def same_text(found: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that says nothing of where they differ. Either may be any text."""
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (found, expected)))


def warn_not_own(run: Path) -> None:
    """Says that somebody else made a run: no command on a finished run measures its numbers again."""
    logger.warning(
        "%s: this user did not make the run: it is not signed with your key (%s; UNVEIL_KEY names another). Who made "
        "it decided its vectors, scores and verdict: run it again to rely on them",
        *(run, key_file()),
    )


def own_seal(text: str) -> str | None:
    """A seal of a text that only this user can make; None where no key can be stored."""
    key = _made_key()
    return None if key is None else hmac.new(key, b"unveil seal\0" + text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class StoreKey:
    """The key that seals what one user's processes write into a store, for this machine and for workers elsewhere.

    It is derived from the user's key and signs no run or guard. With ``trusts_others``, embeddings count whoever made
    them.
    """

    secret: bytes = field(repr=False)
    trusts_others: bool = False

    @classmethod
    def own(cls, *, trusts_others: bool = False) -> StoreKey:
        """The key of this user; one of this process where no key can be stored."""
        key = _made_key()
        return cls(_process_secret() if key is None else _hmac(key, b"unveil store"), trusts_others)

    def seal(self, name: str, data: bytes = b"") -> str:
        """The seal of a file with this name and these contents, as hexadecimal digits."""
        return _hmac(self.secret, name.encode() + b"\0" + data).hex()

    def accepts(self, seal: object, name: str, data: bytes = b"") -> bool:
        """Whether this key made a seal."""
        return isinstance(seal, str) and same_text(seal, self.seal(name, data))


@functools.cache
def _process_secret() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def _made_key() -> bytes | None:
    """The user's key, which is made if there is none. None where it cannot be stored."""
    with contextlib.suppress(OSError):
        _make_key()
    key = _key()
    if key is None:
        _warn_of_key(key_file())
    return key


@functools.cache
def _warn_of_key(file: Path) -> None:
    """Says once that nothing is signed."""
    logger.warning(
        "%s: expected a key of %d bytes, or a place to make one, found neither. What is written now counts as somebody "
        "else's later: correct UNVEIL_KEY, or the permissions of the folder",
        *(file, KEY_BYTES),
    )


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
    make_private(file.parent)
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
