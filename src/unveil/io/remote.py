"""Addresses that fsspec knows, ``s3://`` and others: opened in one way, and never told with what opens them."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from unveil.errors import SettingError, StoreError, UnveilError

T = TypeVar("T")
Say = Callable[[str], None]

# How long an address may be out of reach before work that needs it ends, and the longest wait between two tries.
RETRY_SECONDS = float(os.environ.get("UNVEIL_RETRY_SECONDS", "300"))
LONGEST_WAIT = 15.0
# What no waiting mends.
OF_THIS_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EISDIR, errno.ENOTDIR, errno.EROFS})
NOT_THE_NETWORK = (TypeError, ValueError, LookupError, AttributeError, ImportError, NotImplementedError)
# Parts of names whose values open something.
_SECRET = re.compile(
    r"secret|token|passw|credential|signature|\bsig\b|api_?key|access_?key|account_?key|conn.*string", re.I
)
_QUERY = re.compile(r"(\w+://[^\s?\"']+)\?[^\s\"'>)]*")
_USER = re.compile(r"(\w+://)[^\s/@\"']+@")
SHORTEST_SECRET = 8


def is_address(place: object) -> bool:
    """Whether a place is an address and not a path of this machine."""
    return "://" in str(place)


def absolute_place(place: str) -> str:
    """The same place for a process that runs in another folder."""
    return place if is_address(place) else str(Path(place).absolute())


def check_address(url: str) -> str:
    """The same address; SettingError when it holds what opens it, since addresses stand in manifests and reports."""
    try:
        parts = urlsplit(url)
        secret = parts.username or parts.password or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query))
    except ValueError as error:
        raise SettingError(f"{without_secrets(url)}: not an address ({error})") from None
    if secret:
        raise SettingError(
            f"{without_secrets(url)}: the address holds credentials, and would stand in the manifest; give them in the "
            "environment or in the configuration of fsspec, and the address without them"
        )
    return url


def without_secrets(text: str) -> str:
    """A message without queries and users of addresses, and without the values of this process's secret variables."""
    text = _USER.sub(r"\1", _QUERY.sub(r"\1", text))
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and _SECRET.search(name):
            text = text.replace(value, "***")
    return text


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for an address and the path within; StoreError when there is none."""
    try:
        import fsspec
    except ImportError:
        raise StoreError(f"{url}: addresses are reached through fsspec; pip install 'unveil[remote]'") from None
    try:
        # What another process has written is seen.
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except Exception as error:  # unknown protocol, missing library, missing credentials
        raise StoreError(without_secrets(f"{url}: {error}")) from None
    return files, str(path)


def with_retries(what: str, action: Callable[[], T], say: Say = lambda text: None, patience: float | None = None) -> T:
    """What ``action`` returns, tried again with growing waits while its address is out of reach.

    FileNotFoundError passes. Raises StoreError when access is refused, when no waiting would help, and when
    ``patience`` seconds were not enough.
    """
    patience = RETRY_SECONDS if patience is None else patience
    begun, wait, tries = time.monotonic(), 0.5, 0
    while True:
        try:
            result = action()
        except (FileNotFoundError, UnveilError):
            raise
        except Exception as error:  # each kind of storage has errors of its own
            told = without_secrets(f"{type(error).__name__}: {error}")
            if isinstance(error, PermissionError) or "credential" in type(error).__name__.lower():
                raise StoreError(
                    f"{what}: access is refused ({told}); check the credentials in the environment"
                ) from None
            if isinstance(error, NOT_THE_NETWORK) or getattr(error, "errno", None) in OF_THIS_MACHINE:
                raise StoreError(f"{what}: cannot be used ({told})") from None
            left = patience - (time.monotonic() - begun)
            if left <= 0:
                raise StoreError(
                    f"{what}: out of reach for {patience:.0f} s, tried {tries + 1} times ({told}); what is finished is "
                    "kept, run the same command again when it is back"
                ) from None
            tries += 1
            wait = min(wait, LONGEST_WAIT, left)
            say(f"{what}: out of reach ({told}); try {tries + 1} in {wait:.1f} s, for {left:.0f} s at most")
            time.sleep(wait)
            wait *= 2
        else:
            if tries:
                say(f"{what}: back after {time.monotonic() - begun:.0f} s")
            return result
