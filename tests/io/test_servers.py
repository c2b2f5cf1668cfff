"""Web servers that misbehave: each ends in a clear error within the time that retries may take."""

from __future__ import annotations

import io
import re
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.builders import encoded
from unveil.errors import SourceError, StoreError, UnveilError
from unveil.images import open_source
from unveil.images.blob import RemoteBlob
from unveil.io import redirects
from unveil.io.redirects import MAX_REDIRECTS, Reach, check_redirect, reach_of, web_session

IMAGE = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(20):
            archive.writestr(f"a/{i}.png", IMAGE)
    return buffer.getvalue()


BODY = _archive()


# Pages of folders by their paths; the page * is that of every path.
PAGES: dict[str, dict[str, bytes]] = {
    "pages": {
        "set/": b"""<a href="../">up</a><A class=x HREF='c.png'>c</A><a href="a%20b.png">a</a><a href=?C=N;O=D>sort</a>
            <a href="/pages/set/d/">d</a><a href="/pages/set/g">g</a><a href="/pages/other/x.png">x</a><a href="http://else.where/x.png">y</a>""",
        "set/d/": b'<a href="e&amp;f.png">e</a><a href="./">here</a>',
        "set/g": b"<!DOCTYPE html>",
        "set/g/": b'<a href="/pages/set/g/h.png">h</a>',
        "set/c.png": IMAGE,
        "set/a%20b.png": IMAGE,
    },
    "spelled": {
        "my%20set/": rb"""<a title="a > b" href=a.png>a</a><a onclick="if(a<b)x()" href="b.png">b</a>
            <a data-href=no.png href='/spelled/my set/c.png'>c</a><AREA HREF = "d.png"><img src="e.png">
            <a class="x"href="f%7E.png">f</a><a href="f~.png">f</a><a href="\spelled\my%20set\g.png">g</a>
            <!-- <a href="no.png"> --><script>"<a href='no.png'>"</script><a href="http://else.where/h.png">h</a>
            <a href="../../spelled/my%20set/../">up</a><base href="/spelled/my%20set/sub/"><a href="i.png">i</a>""",
    },
    "deep": {"*": b'<a href="a/">a</a><a href="b.png">b</a>'},
    "wide": {"*": b"".join(b'<a href="%d/">%d</a>' % (k, k) for k in range(10))},
    "longpage": {"*": b"<html>"},
    "paged": {
        "set/": b'<a href="a.png">a</a><a href="?C=M;O=A">sort</a><a href="?zip">all</a><a href="?page=1">next</a>'
    },
}


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
        if manner in PAGES:
            page = PAGES[manner].get(self.path.split("/", 2)[2], PAGES[manner].get("*"))
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page or b"")
            while manner == "longpage":
                self.wfile.write(bytes(2**16))
            return
        if manner in ("none", "silent", "sizeless", "negative"):
            self.do_HEAD()
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(BODY))
        if manner in ("pieces", "cut", "cutquietly"):
            # A piece of what is asked for, or nothing behind some byte.
            end = min(end, start + (len(BODY) // 5 if manner == "pieces" else max(0, len(BODY) // 2 - start)))
        if manner in ("whole", "endless"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(BODY)
            while manner == "endless":
                self.wfile.write(bytes(2**16))
            return
        self.send_response(206)
        total = "*" if manner == "cutquietly" else len(BODY)
        self.send_header("Content-Range", f"bytes {start + (manner == 'elsewhere')}-{end - 1}/{total}")
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


def test_a_folder_of_a_web_server(server: str) -> None:
    source = open_source(f"folder:{server}/pages/set")
    assert [record.id for record in source.records] == ["a b.png", "c.png", "d/e&f.png", "g/h.png"]
    assert source.read(source.records[0]) == source.read(source.records[1]) == IMAGE


def test_links_are_read_as_browsers_read_them(server: str) -> None:
    """However its tag and its address are written: a file that is left out is no part of the audit."""
    for place in ("my set", "my%20set"):
        source = open_source(f"folder:{server}/spelled/{place}")
        names = [*"abcde", "f~", "g", "sub/i"]
        assert [record.id for record in source.records] == [f"{name}.png" for name in names]
        (note,) = [note for note in source.notes if "other places" in note]
        assert note == "not read: 1 links to images in other places: http://else.where/h.png"


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("deep", "expected at most 30 levels in a folder of a web server, found more"),
        ("paged", "expected a page with all files of the folder, found a link to a further page of it"),
        ("wide", "expected at most 100 folders in a folder of a web server, found more"),
        ("longpage", r"expected a page of at most 100,000 bytes, found more\. Give an archive"),
    ],
)
def test_a_server_that_makes_up_folders(
    server: str, manner: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unveil.io.web_folder.MAX_FOLDERS", 100)
    monkeypatch.setattr("unveil.io.web_folder.MAX_PAGE_BYTES", 100_000)
    with pytest.raises(UnveilError, match=message):
        open_source(f"folder:{server}/{manner}/set")


def test_more_bytes_than_were_asked_for_are_not_read(server: str) -> None:
    blob = RemoteBlob(f"{server}/more/set.zip")
    assert blob.read(5, 10) == BODY[5:15] and blob.read(0, 4) == BODY[:4]


def test_a_range_is_whole_or_an_error(server: str) -> None:
    """A part that ends early is not the end of the file: what is behind it would be left out without a word."""
    assert RemoteBlob(f"{server}/pieces/set.zip").read(7, len(BODY)) == BODY[7:]
    for manner in ("cut", "cutquietly"):
        blob = RemoteBlob(f"{server}/{manner}/set.zip")
        for offset in (9, len(BODY) - 100):
            with pytest.raises(StoreError, match=f"expected {min(len(BODY) - 9, len(BODY) - offset)} bytes at byte"):
                blob.read(offset, len(BODY))


def test_a_size_that_is_no_truth_allocates_nothing(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_RETRY_SECONDS", "2")
    with pytest.raises((SourceError, StoreError)):
        open_source(f"{server}/huge/set.zip")


class Redirecting(BaseHTTPRequestHandler):
    """Redirects as the path asks, and notes the headers of each request."""

    headers_of: ClassVar[dict[str, dict[str, str]]] = {}
    target = ""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        cls = type(self)
        cls.headers_of[self.path] = {name.lower(): value for name, value in self.headers.items()}
        kind, _, rest = self.path.removeprefix("/").partition("/")
        if kind == "to":
            where = cls.target
        elif kind == "round":
            n = int(rest.partition("/")[0])
            where = f"/round/{n - 1}/set.zip" if n else "/file/set.zip"
        else:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            data = BODY[int(asked[1]) : int(asked[2]) + 1] if asked else BODY
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(BODY)}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if body else b"")
            return
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def redirecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that redirects, and its address."""
    monkeypatch.setenv("UNVEIL_RETRY_SECONDS", "1")
    Redirecting.headers_of.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_a_redirect_to_another_server_is_followed_without_credentials(
    redirecting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as other:
        other.daemon_threads = True
        threading.Thread(target=other.serve_forever, daemon=True).start()
        signed = f"/file/set.zip?X-Signature={'a' * 30}"
        monkeypatch.setattr(Redirecting, "target", f"http://127.0.0.1:{other.server_address[1]}{signed}")
        source = open_source(f"{redirecting}/to/set.zip")
        assert len(source.records) == 20 and source.read(source.records[7]) == IMAGE

        import fsspec

        headers = {"Authorization": "Bearer a", "X-Api-Key": "b", "Cookie": "c=d"}
        files = fsspec.filesystem("http", get_client=web_session, headers=headers)
        assert files.cat_file(f"{redirecting}/to/set.zip") == BODY
        other.shutdown()
    assert Redirecting.headers_of["/to/set.zip"]["x-api-key"] == "b"
    assert not {"authorization", "x-api-key", "cookie"} & set(Redirecting.headers_of[signed])


def test_redirects_are_few(redirecting: str) -> None:
    assert len(open_source(f"{redirecting}/round/{MAX_REDIRECTS - 1}/set.zip").records) == 20
    with pytest.raises(SourceError, match=f"a redirect after {MAX_REDIRECTS} others, which is not followed"):
        open_source(f"{redirecting}/round/{MAX_REDIRECTS}/set.zip")


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("http://someone:word@127.0.0.1/a.zip", "to 127.0.0.1 with credentials of its own"),
        ("file:///etc/passwd", "to an address of file protocol"),
        ("http://2130706433/a.zip", "to no address"),
    ],
)
def test_a_redirect_elsewhere_is_refused(
    redirecting: str, target: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Redirecting, "target", target)
    with pytest.raises(SourceError, match=f"expected the file, found a redirect {found}, which is not followed"):
        open_source(f"{redirecting}/to/set.zip")


@pytest.mark.parametrize("target", ["http://localhost:{port}/file/set.zip", "http://127.0.0.1:{port}/file/set.zip"])
@pytest.mark.parametrize("chained", ["", "simplecache::"])
def test_a_public_server_cannot_lead_into_this_machine(
    redirecting: str, target: str, chained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server counts as public here; then a redirect to itself by name or number leads into this machine."""
    port = redirecting.rpartition(":")[2]
    monkeypatch.setattr(Redirecting, "target", target.format(port=port))
    real = redirects.reach_of
    first = f"http://server.test:{port}"
    monkeypatch.setattr(redirects, "reach_of", lambda ip: Reach.INTERNET if ip == "127.0.0.9" else real(ip))
    look_up = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **options: Any) -> Any:
        return look_up("127.0.0.9" if host == "server.test" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with ThreadingHTTPServer(("127.0.0.9", int(port)), Redirecting) as public:
        public.daemon_threads = True
        threading.Thread(target=public.serve_forever, daemon=True).start()
        with pytest.raises(UnveilError, match=r"server\.test: expected the file, found a redirect into this machine"):
            open_source(f"zip:{chained}{first}/to/set.zip" if chained else f"{first}/to/set.zip")
        public.shutdown()
    assert "/file/set.zip" not in Redirecting.headers_of


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        *((ip, Reach.MACHINE) for ip in ("127.0.0.1", "::1", "169.254.169.254", "fe80::1%eth0", "::ffff:127.0.0.1")),
        *(
            (ip, Reach.NETWORK)
            for ip in ("10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "224.0.0.1")
        ),
        *((ip, Reach.INTERNET) for ip in ("1.1.1.1", "2606:4700::1111")),
    ],
)
def test_who_can_reach_an_address(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


def test_no_redirect_leaves_encryption() -> None:
    check_redirect("http://a.example/x", "https://b.example/x")
    with pytest.raises(StoreError, match="not encrypted"):
        check_redirect("https://a.example/x", "http://a.example/x")
