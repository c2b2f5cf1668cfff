"""Web servers that misbehave: each ends in a clear error within the time that retries may take."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.builders import encoded
from unveil.errors import SourceError, StoreError, UnveilError
from unveil.images import open_source
from unveil.images.blob import RemoteBlob

IMAGE = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(20):
            archive.writestr(f"a/{i}.png", IMAGE)
    return buffer.getvalue()


BODY = _archive()


class Handler(BaseHTTPRequestHandler):
    """Serves BODY in the manner that the first part of the path names."""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_HEAD(self) -> None:
        manner = self.path.split("/")[1]
        if manner == "silent":
            time.sleep(20)
        self.send_response(404 if manner == "none" else 200)
        if manner != "sizeless":
            self.send_header("Content-Length", str({"negative": -5, "huge": 10**15}.get(manner, len(BODY))))
        self.end_headers()

    def do_GET(self) -> None:
        manner = self.path.split("/")[1]
        if manner in ("none", "silent", "sizeless", "negative"):
            self.do_HEAD()
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(BODY))
        if manner in ("whole", "endless"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(BODY)
            while manner == "endless":
                self.wfile.write(bytes(2**16))
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start + (manner == 'elsewhere')}-{end - 1}/{len(BODY)}")
        if manner not in ("more", "slow"):
            self.send_header("Content-Length", str(len(BODY[start:end])))
        self.end_headers()
        if manner == "slow":
            for byte in BODY[start:end]:
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        self.wfile.write(BODY[start:end] + (bytes(2**28) if manner == "more" else b""))

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on this machine, and its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_a_server_that_behaves(server: str) -> None:
    source = open_source(f"{server}/good/set.zip")
    assert len(source.records) == 20 and source.read(source.records[7]) == IMAGE


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("whole", "does not send parts of a file"),
        ("endless", "does not send parts of a file"),
        ("elsewhere", "does not send parts of a file"),
        ("sizeless", "does not state the size"),
        ("negative", "does not state the size|unreachable|cannot be used"),
        ("none", "there is none"),
        ("slow", "unreachable for 2 s"),
        ("silent", "unreachable for 2 s"),
    ],
)
def test_a_server_that_misbehaves(
    server: str, manner: str, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNVEIL_RETRY_SECONDS", "2")
    begun = time.monotonic()
    with pytest.raises(UnveilError, match=message):
        open_source(f"{server}/{manner}/set.zip")
    assert time.monotonic() - begun < 20


def test_more_bytes_than_were_asked_for_are_not_read(server: str) -> None:
    blob = RemoteBlob(f"{server}/more/set.zip")
    assert blob.read(5, 10) == BODY[5:15] and blob.read(0, 4) == BODY[:4]


def test_a_size_that_is_no_truth_allocates_nothing(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_RETRY_SECONDS", "2")
    with pytest.raises((SourceError, StoreError)):
        open_source(f"{server}/huge/set.zip")
