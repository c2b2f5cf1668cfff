"""Fetches models from their address or from a mirror, resumes an interrupted fetch, and checks the sha256."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from unveil.errors import DiskFullError, ModelError, StoreError
from unveil.faces.models.library import install_model, library_folder
from unveil.faces.models.spec import Spec
from unveil.faces.models.table import Download, model_table
from unveil.io.atomic import DISK_FULL, replacing
from unveil.io.private import make_private
from unveil.io.redirects import MAX_REDIRECTS, Reach, check_hosts, check_peer, check_redirect, looked_up

CHUNK = 2**18
# How often the rest is requested after a timeout or an early end of the connection.
TRIES = 5
# Called with the number of received bytes and, if the server states it, the total number.
Advance = Callable[[int, int | None], None]


@dataclass(frozen=True)
class FetchLimits:
    """Limits of a fetch: times in seconds, sizes in bytes."""

    timeout: float = 30.0  # of a server that sends nothing
    wait: float = 1.0  # before a request is repeated without any progress; grows with the number of tries
    max_bytes: int = 2**30  # no pack is larger, so a larger answer is not the file that was requested


def fetch(
    download: Download,
    *,
    mirror: str | None = None,
    advance: Advance | None = None,
    limits: FetchLimits | None = None,
) -> list[tuple[Spec, Path]]:
    """Fetches a download and installs its known models. Returns the description and the path of each.

    ``mirror`` is a folder or an address with the same file. The bytes of an interrupted fetch are stored, and the next
    fetch continues after them. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY). Raises ModelError if the
    file is not available or its sha256 is not that of the table.
    """
    limits = limits or FetchLimits()
    part = library_folder() / ".parts" / f"{download.sha256}.part"
    make_private(part.parent)
    where = _location(download, mirror)
    if isinstance(where, Path):
        _copy(where, part, limits.max_bytes)
    else:
        _download(where, part, advance or (lambda done, total: None), limits)
    sha256 = _sha256(part)
    if sha256 != download.sha256:
        part.unlink()
        raise ModelError(
            f"{where}: sha256 {download.sha256} was expected, got {sha256}; the received file was deleted unopened. "
            "A proxy or a captive portal may have answered, or the file has changed"
        )
    models = _unpack(part, download, limits.max_bytes)
    part.unlink()
    with contextlib.suppress(OSError):
        part.parent.rmdir()
    return models


def _location(download: Download, mirror: str | None) -> Path | str:
    """The file in a mirror folder, or the address to request."""
    file = urllib.parse.urlsplit(download.address).path.rsplit("/", 1)[-1]
    if mirror is None:
        return download.address
    if mirror.startswith(("http://", "https://")):
        return f"{mirror.rstrip('/')}/{file}"
    path = Path(mirror).expanduser() / file
    if not path.is_file():
        raise ModelError(f"{path}: no such file; the mirror should contain {file} from {download.address}")
    return path


def _copy(source: Path, part: Path, max_bytes: int) -> None:
    if source.stat().st_size > max_bytes:
        raise ModelError(f"{source}: at most {max_bytes:,} bytes were expected, got {source.stat().st_size:,}")
    with source.open("rb") as file, replacing(part) as out:
        while chunk := file.read(CHUNK):
            out.write(chunk)


@dataclass
class _Trail:
    """Where the redirects of one request lead: the server of the last one, and the reach that the next must have.

    ``reached`` is the reach of the server that is connected to; None for a proxy, which looks names up itself.
    """

    source: str = ""
    least: Reach = Reach.MACHINE
    reached: Reach | None = None


class _Connection(http.client.HTTPConnection):
    """A connection that checks which address it has reached, before anything is sent."""

    trail: _Trail
    through_proxy: bool

    def set_tunnel(self, host: str, port: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.through_proxy = True
        super().set_tunnel(host, port, headers)

    def connect(self) -> None:
        super().connect()
        if self.through_proxy:
            self.trail.reached = None
            return
        try:
            self.trail.reached = check_peer(self.trail.source, self.sock, self.trail.least)
        except StoreError as error:
            raise ModelError(str(error)) from None


class _EncryptedConnection(http.client.HTTPSConnection, _Connection):
    """The same. The address is checked before encryption begins."""


class _Connections(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections that are checked."""

    def __init__(self, trail: _Trail) -> None:
        super().__init__()
        self._trail = trail

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Connection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_EncryptedConnection, req)

    def _open(self, kind: type[_Connection], req: urllib.request.Request) -> http.client.HTTPResponse:
        def made(host: str, **options: Any) -> _Connection:
            connection = kind(host, **options)
            connection.trail, connection.through_proxy = self._trail, req.has_proxy()
            return connection

        return self.do_open(made, req)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects within HTTP that `check_redirect` and `check_hosts` allow."""

    max_redirections = MAX_REDIRECTS

    def __init__(self, trail: _Trail) -> None:
        self._trail = trail

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_redirect(req.full_url, newurl)
            check_hosts(req.full_url, newurl)
        except StoreError as error:
            fp.close()
            raise ModelError(str(error)) from None
        self._trail.source = urllib.parse.urlsplit(req.full_url).hostname or ""
        reached = self._trail.reached
        self._trail.least = looked_up(req.full_url) if reached is None else reached
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(address: str, part: Path, advance: Advance, limits: FetchLimits) -> None:
    """Writes the bytes at an address to a file that may contain the first of them already."""
    for attempt in range(1, TRIES + 1):
        received = part.stat().st_size if part.exists() else 0
        try:
            _download_rest(address, part, received, advance, limits)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and received:
                return  # the server has nothing left to send; the sha256 shows whether the file is complete
            if error.code < 500:
                raise ModelError(
                    f"{address}: the server answered {error.code} {error.reason}; check the address"
                ) from None
            problem: Exception = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise DiskFullError(
                    f"{part}: the disk is full. Free some space and run the same command again; what was received is "
                    "stored"
                ) from None
            problem = error
        grew = part.exists() and part.stat().st_size > received
        if attempt < TRIES:
            time.sleep(0 if grew else limits.wait * attempt)
    received = part.stat().st_size if part.exists() else 0
    raise ModelError(
        f"{address}: {problem}; tried {TRIES} times, {received:,} bytes were received and stored. Run the same command "
        "again to continue; behind a proxy set HTTPS_PROXY; without a network connection copy the file to a folder and "
        "use --from FOLDER"
    )


def _download_rest(address: str, part: Path, received: int, advance: Advance, limits: FetchLimits) -> None:
    """Requests the missing bytes once. Raises OSError if the connection ends before the stated length."""
    request = urllib.request.Request(address, headers={"User-Agent": "unveil"})  # noqa: S310 (schemes are checked)
    if received:
        request.add_header("Range", f"bytes={received}-")
    trail = _Trail()
    opener = urllib.request.build_opener(_SafeRedirects(trail), _Connections(trail))
    with opener.open(request, timeout=limits.timeout) as answer:
        continues = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {received}-")
        received = received if continues else 0
        length = answer.headers.get("Content-Length", "")
        total = received + int(length) if length.isdecimal() else None
        if total is not None and total > limits.max_bytes:
            raise ModelError(
                f"{address}: at most {limits.max_bytes:,} bytes were expected, the server announces {total:,}"
            )
        with part.open("ab" if continues else "wb", buffering=0) as out:
            # Written as it arrives: bytes of a slow server must not be lost if it stops.
            while chunk := answer.read1(CHUNK):
                received += len(chunk)
                if received > limits.max_bytes:
                    raise ModelError(
                        f"{address}: at most {limits.max_bytes:,} bytes were expected, got more; nothing was opened"
                    )
                out.write(chunk)
                advance(received, total)
        if total is not None and received < total:
            raise ConnectionError(f"the connection ended after {received:,} of {total:,} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(part: Path, download: Download, max_bytes: int) -> list[tuple[Spec, Path]]:
    """Installs the known files of a verified download, each verified again. No name in a zip is used as a path."""
    if not download.zipped:
        raw = part.read_bytes()
        return [_install_file(raw, file, sha) for file, sha in download.files.items()]
    models = []
    with zipfile.ZipFile(io.BytesIO(part.read_bytes())) as archive:
        members = {info.filename.rsplit("/", 1)[-1]: info for info in archive.infolist() if not info.is_dir()}
        for file, sha256 in download.files.items():
            if file not in members or members[file].file_size > max_bytes:
                raise ModelError(
                    f"{download.name} contains no {file} of a plausible size; it is not the pack of the table"
                )
            models.append(_install_file(archive.read(members[file]), file, sha256))
    return models


def _install_file(raw: bytes, file: str, sha256: str) -> tuple[Spec, Path]:
    received = hashlib.sha256(raw).hexdigest()
    if received != sha256:
        raise ModelError(f"{file}: sha256 {sha256} was expected, got {received}; nothing was installed")
    spec = model_table()[sha256]
    return spec, install_model(spec, raw, file)
