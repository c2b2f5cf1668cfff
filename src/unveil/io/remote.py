"""Remote addresses such as ``s3://bucket/set``, reached through fsspec; credentials never appear in messages."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from unveil.errors import SettingError, StoreError, UnveilError
from unveil.io.redirects import web_session

T = TypeVar("T")
logger = logging.getLogger(__name__)

HTTP = frozenset({"http", "https"})
# Of the file systems of fsspec, those that reach what an address names and nothing else, and caches before them.
# Others lead on to what a stranger's file names, or unpack archives without the limits of our readers.
REACHES_ITS_ADDRESS = frozenset(
    {
        *(*HTTP, "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf", "oss", "oci", "ocilake", "tos", "tosfs"),
        *("sftp", "ssh", "ftp", "smb", "webdav", "hdfs", "arrow_hdfs", "webhdfs", "root", "memory", "dropbox", "box"),
        *("gdrive", "lakefs", "dbfs", "wandb", "github", "gist", "simplecache", "filecache", "blockcache", "cached"),
    }
)
THIS_MACHINE = frozenset({"file", "local"})
CHUNK = 2**16
MAX_DIGITS = 18  # of the size of a file
# Answers of which a range may be put together, where a server sends less than it is asked for.
MAX_PIECES = 16
MAX_WAIT_SECONDS = 15.0  # between two attempts
# Errors that no retry can repair: those of the local disk, and those of a wrong call.
LOCAL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EISDIR, errno.ENOTDIR, errno.EROFS})
PERMANENT_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ImportError, NotImplementedError)
# Names of variables and query fields whose values are credentials.
_SECRET = re.compile(
    r"secret|token|passw|\bpwd\b|credential|signature|\bsig\b|\bsas\b|\bauth\b|\bkey\b|api_?key|access_?key|account_?key"
    r"|conn.{0,40}string",
    re.I,
)
# An address in a text, and the separator of addresses that lead through each other, as in zip://a::https://host/b.zip.
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]{0,31}://[^\s\"']+")
_CHAIN = re.compile(r"::(?=[A-Za-z][\w+.-]*://)")
# A query without names of fields, such as a shared access signature, is a credential from this length on.
MIN_NAMELESS = 16
MIN_SECRET_LENGTH = 8


def is_address(place: object) -> bool:
    """Whether a place is a remote address rather than a path of this machine."""
    return "://" in str(place)


def absolute_place(place: str) -> str:
    """The same address or path for a process that runs in another folder."""
    return place if is_address(place) else str(Path(place).absolute())


def check_address(url: str) -> str:
    """The same address. Raises SettingError if a part holds credentials: addresses appear in manifests and reports."""
    try:
        secret = any(_holds_secret(part) for part in _CHAIN.split(url))
    except ValueError as error:
        raise SettingError(f"{_struck_all(url)}: not an address ({without_secrets(str(error))})") from None
    if secret:
        raise SettingError(
            f"{_struck_all(url)}: the address holds credentials and would appear in the manifest. Name it without "
            "them, and put credentials into the environment or the configuration of fsspec"
        )
    return url


def _holds_secret(url: str) -> bool:
    """Whether one address of a chain holds a user, or a credential in its query, fragment or parameters."""
    parts = urlsplit(url)
    scheme, slashes, rest = url.partition("://")
    if parts.username or parts.password or (slashes and ":" in scheme):
        return True
    # A password may hold a slash, before which no user is looked for.
    before, at, _ = rest.rpartition("@")
    if at and ":" in before:
        return True
    fields = [parts.query, parts.fragment, *parts.path.split(";")[1:]]
    if any(_SECRET.search(name) for field in fields for name, _ in parse_qsl(field, keep_blank_values=True)):
        return True
    return any(len(field) >= MIN_NAMELESS and "=" not in field for field in (parts.query, parts.fragment))


def without_secrets(text: str) -> str:
    """A message without the queries, fragments and users of addresses, and without the values of secret environment
    variables."""
    text = _ADDRESS.sub(lambda found: _struck_all(found[0]), text)
    for name, value in os.environ.items():
        # Of these names, one is the folder that the shell is in.
        if len(value) >= MIN_SECRET_LENGTH and _SECRET.search(name) and name != "PWD":
            text = text.replace(value, "***")
    return text


def _struck_all(url: str) -> str:
    """The addresses of a chain, each without what may be a credential. Passwords may hold quotes and spaces."""
    return "::".join(map(_struck, _CHAIN.split(url)))


def _struck(url: str) -> str:
    """One address of a chain without everything that may be a credential."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url
    host, slash, path = rest.partition("/")
    _, user, named = host.rpartition("@")
    rest = re.split(r"[?#;]", f"{named}{slash}{path}", maxsplit=1)[0]
    # A password may hold a slash, before which no user is looked for.
    before, at, after = rest.rpartition("@")
    return f"{scheme}://{after if at and not user and ':' in before else rest}"


def _check_protocols(url: str, known: Collection[str], *, local: bool) -> None:
    """Raises StoreError for an address that leads to this machine, unless ``local``, or on to other addresses."""
    for part in url.split("::"):
        protocol, slashes, rest = part.partition("://")
        # As fsspec reads a chain: a word alone is a protocol, anything else without one a path of this machine.
        name = protocol.lower() if slashes or re.fullmatch("[a-z0-9_]+", protocol) else "file"
        if name in THIS_MACHINE and not local:
            raise StoreError(
                f"{_struck_all(url)}: expected an address of another machine, found a place of this one. Name its path "
                f"({rest or part})"
            )
        if name in known and name not in REACHES_ITS_ADDRESS | THIS_MACHINE:
            raise StoreError(
                f"{_struck_all(url)}: expected an address of files, found {name}://, which leads to other addresses or "
                "unpacks files. Name the address of the file itself"
            )


def filesystem(url: str, *, local: bool = False) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it; with ``local``, also one of this machine.

    Raises StoreError when fsspec or a library of the protocol is missing, or the protocol is unknown or refused.
    """
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError:
        raise StoreError(f"{url}: addresses need fsspec, which is missing; pip install 'unveil[remote]'") from None
    _check_protocols(url, known_implementations, local=local)
    try:
        # Without a cache of listings, files that another process writes are visible.
        options: dict[str, Any] = {"use_listings_cache": False}
        first, *inner = (part.partition("://")[0] for part in _CHAIN.split(url))
        for protocol in HTTP & {first, *inner}:
            import aiohttp

            # Without a limit of our own, a silent server would be waited for five minutes at each request.
            timeout = aiohttp.ClientTimeout(total=max(1.0, retry_seconds()))
            web = {"client_kwargs": {"timeout": timeout}, "get_client": web_session}
            options |= web if protocol == first else {protocol: web}
        files, path = fsspec.core.url_to_fs(url, **options)
    except Exception as error:  # unknown protocol, missing library, missing credentials
        raise StoreError(without_secrets(f"{url}: {error}")) from None
    return files, str(path)


def read_range(files: Any, path: str, start: int, end: int) -> bytes:
    """The bytes of a file of `filesystem` from ``start`` to ``end``; fewer only where the file ends.

    Raises StoreError for a server that sends other bytes, and FileNotFoundError.
    """
    protocols = {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
    if protocols & HTTP:
        from fsspec.asyn import sync

        data, goal = b"", end
        for _ in range(MAX_PIECES):
            piece: bytes
            piece, total = sync(files.loop, _http_range, files, path, start + len(data), end)
            data += piece
            goal = end if total is None else min(end, total)
            if total is None or start + len(data) >= goal:
                return data
            if not piece:
                break
        raise StoreError(
            f"{without_secrets(path)}: expected {goal - start} bytes at byte {start}, got {len(data)}: the server "
            "cuts its answers short. Download the file and name its path"
        )
    data = bytes(files.cat_file(path, start=start, end=end))
    if len(data) > end - start:
        raise StoreError(f"{without_secrets(path)}: {end - start} bytes were expected, got {len(data)}")
    return data


async def _http_range(files: Any, path: str, start: int, end: int) -> tuple[bytes, int | None]:
    """A range from a web server, which may ignore it, send without end, or a byte a second; and the size that it states
    for the file, None where it states none."""
    import asyncio

    session, where = await files.set_session(), without_secrets(path)
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    data = bytearray()
    async with asyncio.timeout(max(1.0, retry_seconds())), session.get(path, headers=headers) as answer:
        if answer.status == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(where)
        answer.raise_for_status()
        stated = answer.headers.get("Content-Range", "")
        if start and (answer.status != HTTPStatus.PARTIAL_CONTENT or not stated.startswith(f"bytes {start}-")):
            raise StoreError(f"{where}: the server does not send parts of a file. Download the file and name its path")
        size = stated.rpartition("/")[2]
        total = int(size) if size.isascii() and size.isdecimal() and len(size) <= MAX_DIGITS else None
        async for chunk in answer.content.iter_chunked(CHUNK):
            data += chunk
            if len(data) >= end - start:
                # From byte 0, a server without ranges sends the same bytes, and more.
                break
    return bytes(data[: end - start]), total


def file_size(files: Any, path: str) -> int:
    """The size of a file of `filesystem`. Raises StoreError if the address does not state it."""
    try:
        size = files.info(path).get("size")
    except FileNotFoundError as error:
        # fsspec gives this error whatever happened.
        cause = error.__cause__
        answered = getattr(cause, "status", HTTPStatus.NOT_FOUND)
        if cause is not None and (isinstance(cause, (TimeoutError, UnveilError)) or answered != HTTPStatus.NOT_FOUND):
            raise cause from None
        raise
    if not isinstance(size, int) or size < 0:
        raise StoreError(
            f"{without_secrets(path)}: the address does not state the size of the file. Download the file and name its "
            "path"
        )
    return size


def retry_seconds() -> float:
    """How long an unreachable address or cluster is retried: ``UNVEIL_RETRY_SECONDS``, by default 300 seconds.

    Raises SettingError for a value that is not a number of seconds.
    """
    return environment_number("UNVEIL_RETRY_SECONDS", 300.0)


def environment_number(name: str, default: float) -> float:
    """The value of an environment variable. Raises SettingError unless it is a finite number of at least 0."""
    text = os.environ.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SettingError(f"{name} should be a number of at least 0, got {text!r}")
    return value


def with_retries(address: str, action: Callable[[], T], retry_for: float | None = None) -> T:
    """The result of ``action``, which is retried with growing waits while its address is unreachable.

    Every retry is logged as a warning. ``retry_for`` is in seconds; by default `retry_seconds`. FileNotFoundError
    passes. Raises StoreError when access is refused, when no retry can help, and when the time is over.
    """
    limit = retry_seconds() if retry_for is None else retry_for
    begun, wait, attempt = time.monotonic(), 0.5, 1
    while True:
        try:
            result = action()
        except (FileNotFoundError, UnveilError):
            raise
        except Exception as error:  # each kind of storage has errors of its own
            reason = without_secrets(f"{type(error).__name__}: {error}")
            _raise_if_permanent(address, error, reason)
            left = limit - (time.monotonic() - begun)
            if left <= 0:
                raise StoreError(
                    f"{address}: unreachable for {limit:.0f} s, {attempt} attempts ({reason}). Run the same command "
                    "again when it is back; finished work is stored"
                ) from None
            attempt += 1
            wait = min(wait, MAX_WAIT_SECONDS, left)
            logger.warning(
                "%s: unreachable (%s); attempt %d in %.1f s, for %.0f s at most", address, reason, attempt, wait, left
            )
            time.sleep(wait)
            wait *= 2
        else:
            if attempt > 1:
                logger.warning("%s: reachable again after %.0f s", address, time.monotonic() - begun)
            return result


def _raise_if_permanent(address: str, error: Exception, reason: str) -> None:
    if isinstance(error, PermissionError) or "credential" in type(error).__name__.lower():
        raise StoreError(f"{address}: access is refused ({reason}); check the credentials in the environment") from None
    if isinstance(error, PERMANENT_ERRORS) or getattr(error, "errno", None) in LOCAL_ERRORS:
        raise StoreError(f"{address}: cannot be used ({reason})") from None
