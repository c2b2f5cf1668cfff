"""Getting weights that a person asked for: resumed, checked by sha256, from their address or a mirror of one's own."""

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
from collections.abc import Callable
from pathlib import Path
from typing import IO

from unveil.errors import ModelError
from unveil.faces.models.library import install, library_folder
from unveil.faces.models.spec import Spec
from unveil.faces.models.table import Download, table
from unveil.io.atomic import replacing

CHUNK = 2**18
# No pack is larger; whoever sends more is not the one who was asked.
MAX_BYTES = 2**30
# A server that is silent for so long, or ends early, is asked again for the rest.
TIMEOUT, TRIES, WAIT = 30.0, 5, 1.0
# Told of the bytes that came and, where the server says so, of how many there will be.
Advance = Callable[[int, int | None], None]


def fetch(
    download: Download,
    *,
    mirror: str | None = None,
    advance: Advance | None = None,
    timeout: float = TIMEOUT,
    wait: float = WAIT,
) -> list[tuple[Spec, Path]]:
    """Fetches what is known in a download into the library; gives each network with its path.

    ``mirror`` is a folder or an address that has the same file. What came of an interrupted fetch is kept and gone on
    with. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY). Raises ModelError when the bytes cannot be
    had or are not those of the table.
    """
    part = library_folder() / ".parts" / f"{download.sha256}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    where = _where(download, mirror)
    if isinstance(where, Path):
        _copy(where, part)
    else:
        _get(where, part, advance or (lambda done, total: None), timeout, wait)
    sha256 = _sha256(part)
    if sha256 != download.sha256:
        part.unlink()
        raise ModelError(
            f"{where}: sha256 {sha256} came, {download.sha256} was expected; what came was thrown away. A proxy or a "
            "captive portal may have answered instead, or the file has changed: nothing of it was opened"
        )
    found = _unpack(part, download)
    part.unlink()
    with contextlib.suppress(OSError):
        part.parent.rmdir()
    return found


def _where(download: Download, mirror: str | None) -> Path | str:
    """The file in a mirror folder, or the address to ask."""
    file = urllib.parse.urlsplit(download.address).path.rsplit("/", 1)[-1]
    if mirror is None:
        return download.address
    if mirror.startswith(("http://", "https://")):
        return f"{mirror.rstrip('/')}/{file}"
    path = Path(mirror).expanduser() / file
    if not path.is_file():
        raise ModelError(f"{path}: no such file; the mirror should hold {file} as it is at {download.address}")
    return path


def _copy(source: Path, part: Path) -> None:
    if source.stat().st_size > MAX_BYTES:
        raise ModelError(f"{source} has {source.stat().st_size:,} bytes, at most {MAX_BYTES:,} were expected")
    with source.open("rb") as file, replacing(part) as out:
        while chunk := file.read(CHUNK):
            out.write(chunk)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to an open one, nor out of HTTP."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and scheme != urllib.parse.urlsplit(req.full_url).scheme:
            fp.close()
            raise ModelError(f"{req.full_url} redirects to {newurl}, which is not encrypted; nothing was fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(address: str, part: Path, advance: Advance, timeout: float, wait: float) -> None:
    """The bytes at an address, into a file that may hold the first of them already."""
    opener = urllib.request.build_opener(_SafeRedirects)
    for attempt in range(1, TRIES + 1):
        have = part.stat().st_size if part.exists() else 0
        try:
            _get_rest(opener, address, part, have, advance, timeout)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return  # nothing is left to send: the sha256 says whether it is all
            if error.code < 500:
                raise ModelError(
                    f"{address}: the server says {error.code} {error.reason}; is the address still right?"
                ) from None
            problem: Exception = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        grew = part.exists() and part.stat().st_size > have
        if attempt < TRIES:
            time.sleep(0 if grew else wait * attempt)
    kept = part.stat().st_size if part.exists() else 0
    raise ModelError(
        f"{address}: {problem}; tried {TRIES} times, {kept:,} bytes came and are kept. Run the same command again to "
        "go on; behind a proxy set HTTPS_PROXY; without a network copy the file to a folder and use --from FOLDER"
    )


def _get_rest(
    opener: urllib.request.OpenerDirector, address: str, part: Path, have: int, advance: Advance, timeout: float
) -> None:
    """Asks for what is missing once; raises OSError when the connection ends before the server's own length."""
    request = urllib.request.Request(address, headers={"User-Agent": "unveil"})  # noqa: S310 (schemes are checked)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with opener.open(request, timeout=timeout) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if total is not None and total > MAX_BYTES:
            raise ModelError(f"{address} announces {total:,} bytes, at most {MAX_BYTES:,} were expected")
        with part.open("ab" if goes_on else "wb", buffering=0) as out:
            # What there is, at once: what a slow server sent already must not be lost when it stops.
            while chunk := answer.read1(CHUNK):
                have += len(chunk)
                if have > MAX_BYTES:
                    raise ModelError(f"{address} sent more than {MAX_BYTES:,} bytes; nothing of it was opened")
                out.write(chunk)
                advance(have, total)
        if total is not None and have < total:
            raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(part: Path, download: Download) -> list[tuple[Spec, Path]]:
    """The known files of a checked download, each checked by itself, into the library. No name in a zip is a path."""
    if not download.zipped:
        raw = part.read_bytes()
        return [_existing(raw, file, sha) for file, sha in download.files.items()]
    found = []
    with zipfile.ZipFile(io.BytesIO(part.read_bytes())) as archive:
        members = {info.filename.rsplit("/", 1)[-1]: info for info in archive.infolist() if not info.is_dir()}
        for file, sha256 in download.files.items():
            if file not in members or members[file].file_size > MAX_BYTES:
                raise ModelError(
                    f"{download.name} holds no {file} of a plausible size; it is not the pack of the table"
                )
            found.append(_existing(archive.read(members[file]), file, sha256))
    return found


def _existing(raw: bytes, file: str, sha256: str) -> tuple[Spec, Path]:
    came = hashlib.sha256(raw).hexdigest()
    if came != sha256:
        raise ModelError(f"{file}: sha256 {came} came, {sha256} was expected; nothing was kept")
    spec = table()[sha256]
    return spec, install(spec, raw, file)
