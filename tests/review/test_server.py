"""The server behind the review page: access, refusals, and verdicts that survive a kill."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import struct
from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.builders import NIGHTLY_FACTOR, PROFILE, write
from tests.cli.runner import Done
from tests.cli.runner import unveil as command_line
from tests.review.conftest import Served
from unveil.errors import DiskFullError, StoreError
from unveil.review import VerdictStore
from unveil.review.app import ReviewApp
from unveil.review.queue import ReviewQueue
from unveil.runs.finished import FinishedRun

Serve = Callable[..., Served]
# How often a server is killed while verdicts arrive.
KILLS = 3 if PROFILE == "ci" else NIGHTLY_FACTOR


def request(
    address: str, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    try:
        connection.request(method, parts.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def send(address: str, index: int, verdict: str | None = "same person", reviewer: str = "anna") -> int:
    body = json.dumps({"reviewer": reviewer, "index": index, "verdict": verdict})
    return request(address, "verdict", "POST", body, **{"Content-Type": "application/json"})[0]


def test_access_needs_this_host_and_the_token(run: Path, served: Serve) -> None:
    address = served(run).address
    parts = urlsplit(address)
    root = f"{parts.scheme}://{parts.netloc}/"
    status, page, headers = request(address, "")
    assert status == 200 and b"unveil review" in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    other = parts.path[1:-2] + ("y/" if parts.path[-2] == "x" else "x/")
    for path in ("", "wrong/", "queue?reviewer=a", other, "../" + parts.path[1:]):
        assert request(root, path)[0] == 404, path
    assert request(address, "", Host="evil.example")[0] == 421
    assert request(address, "", Host=f"evil.example:{parts.port}")[0] == 421
    assert request(address, "image/99999999")[0] == 404 and request(address, "image/-1")[0] == 404
    assert request(address, "image/..%2f..%2faudit.json")[0] == 404 and request(address, "audit.json")[0] == 404
    with socket.socket() as elsewhere:
        elsewhere.settimeout(2)
        with pytest.raises(OSError):
            elsewhere.connect(("127.0.0.2", int(parts.port or 0)))


def test_invalid_verdicts_are_refused(run: Path, served: Serve) -> None:
    address = served(run).address
    good = {"reviewer": "anna", "index": 0, "verdict": "different"}
    kind = {"Content-Type": "application/json"}
    assert request(address, "verdict", "POST", json.dumps(good))[0] == 415
    assert request(address, "verdict", "POST", " " * 5000, **kind)[0] == 413
    assert request(address, "verdict")[0] == 405
    indices: tuple[object, ...] = (True, "0", None, [0], 1e0, 10**400)
    verdicts: tuple[object, ...] = (True, 0, [], {}, ["different"], "undone", "\ud800")
    reviewers: tuple[object, ...] = (True, 0, ["anna"], None, "\ud800", "a\0b")
    bad = (
        *("", "[]", "{", '"x"', "null", json.dumps({**good, "verdict": "maybe"}), json.dumps({**good, "index": 10**9})),
        *(json.dumps({**good, "index": -1}), json.dumps({**good, "reviewer": " "}), json.dumps({**good, "index": 1.5})),
        *(json.dumps({**good, "index": one}) for one in indices),
        *(json.dumps({**good, "verdict": one}) for one in verdicts),
        *(json.dumps({**good, "reviewer": one}) for one in reviewers),
        *(json.dumps([good]), '{"index": NaN, "reviewer": "anna", "verdict": null}', json.dumps({})),
        *(json.dumps({**good, "reviewer": "x" * 61}), json.dumps({**good, "reviewer": "a\u202eb"}), "[" * 4000),
    )
    for body in bad:
        status, answer, _ = request(address, "verdict", "POST", body, **kind)
        assert status == 400 and json.loads(answer)["error"], body
    assert request(address, "queue?reviewer=")[0] == 400 and request(address, "pair/0?reviewer=")[0] == 400
    for path in ("pair", "neighbours", "image"):
        for number in ("10000000", "9" * 5000, "-1", "1.5", "%D9%A3", "x"):  # an Arabic digit among them
            assert request(address, f"{path}/{number}?reviewer=a")[0] == 404, (path, number[:9])
    assert VerdictStore(run).history() == []


def test_the_secret_is_no_argument_of_a_program(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine sees the arguments of its programs."""
    address = "http://127.0.0.1:1/a-secret/?a=1&b=2"
    opened: list[Path] = []

    def launch(place: str) -> None:
        assert "a-secret" not in place
        assert Path(place).stat().st_mode & 0o77 == 0 and Path(place).parent.stat().st_mode & 0o77 == 0
        assert escape(address) in Path(place).read_text()
        opened.append(Path(place))

    def serve(run: FinishedRun, *, ready: Callable[..., None], **_: object) -> None:
        ready(address, ReviewQueue(run.pairs, blind=False, findings_only=False, seed=0))

    monkeypatch.setattr("typer.launch", launch)
    monkeypatch.setattr("unveil.review.server.serve", serve)
    done = command_line("review", str(run), "--open")
    assert done.returncode == 0 and address in done.stdout and len(opened) == 1
    assert not opened[0].exists()


def test_reviewers_read_how_many_findings_may_be_false(served: Serve, run: Path) -> None:
    note = json.loads(request(served(run).address, "queue?reviewer=anna")[1])["note"]
    assert re.fullmatch(
        r"\d+ training people are significant. At most [\d.]+ of them are expected to be false .*\.", note
    )
    blind = json.loads(request(served(run, "--blind").address, "queue?reviewer=anna")[1])
    assert blind["note"] == "" and "expected to be false" not in json.dumps(blind)


def test_no_verdict_is_lost_to_kill_9(run: Path, served: Serve) -> None:
    """Every acknowledged verdict is stored, whenever the process is killed."""
    acknowledged: list[tuple[int, str]] = []
    rng = np.random.default_rng(1)
    for _ in range(KILLS):
        server = served(run)
        stop = int(rng.integers(1, 25))
        for n in range(60):
            if n == stop:
                # At a random moment during the next verdicts.
                Timer(float(rng.random()) * 0.05, server.process.kill).start()
            index, verdict = int(rng.integers(40)), str(rng.choice(["same image", "same person", "different"]))
            try:
                if send(server.address, index, verdict) == 200:
                    acknowledged.append((index, verdict))
            except (OSError, http.client.HTTPException):
                break
        server.kill()
    store = VerdictStore(run)
    history = [(s.pair, s.verdict) for s in store.history()]
    store.close()
    with sqlite3.connect(run / "review.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    pairs = [(p.synthetic_id, p.real_id, p.role) for p in FinishedRun(run).pairs]
    expected = [(pairs[index], verdict) for index, verdict in acknowledged]
    assert len(acknowledged) > 5 * KILLS and len(history) >= len(expected)
    # In order. Each kill may leave one more verdict that was stored and not acknowledged.
    remaining = iter(history)
    assert all(one in remaining for one in expected)
    assert len(history) <= len(expected) + KILLS


def test_verdicts_on_the_images_of_another_audit_do_not_count(run: Path) -> None:
    """Wherever the file comes from: another run has other images under the same names."""
    store = VerdictStore(run)
    store.add("anna", ("s", "t", "training"), "different", blind=False)
    store.close()
    VerdictStore(run).close()
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    manifest["inputs"]["synthetic"]["sha256"] = "0" * 64
    write(run / "manifest.json", json.dumps(manifest))
    with pytest.raises(StoreError, match="found verdicts on the images of another audit"):
        VerdictStore(run)


def test_verdicts_are_only_added(tmp_path: Path) -> None:
    store = VerdictStore(tmp_path)
    store.add(" anna  b ", ("s", "t", "training"), "different", blind=False)
    store.add("anna b", ("s", "t", "training"), "same person", blind=False)
    assert store.current()["anna b"]["s", "t", "training"].verdict == "same person"
    store.add("anna b", ("s", "t", "training"), "undone", blind=False)
    assert store.current() == {} and len(store.history()) == 3
    with sqlite3.connect(store.path) as db:
        for change in ("UPDATE verdicts SET verdict = 'different'", "DELETE FROM verdicts"):
            with pytest.raises(sqlite3.DatabaseError, match="only added"):
                db.execute(change)
    assert store.path.stat().st_mode & 0o077 == 0
    store.close()


@pytest.mark.parametrize("what", ["text", "other program", "truncated"])
def test_files_without_verdicts_are_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "review.sqlite"
    if what == "text":
        file.write_text("not a database at all, " * 100)
    elif what == "other program":
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE other (x)")
    else:
        store = VerdictStore(tmp_path)
        store.close()
        file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(StoreError, match="Move the file away"):
        VerdictStore(tmp_path)


def test_a_journal_deletes_no_other_file(tmp_path: Path) -> None:
    """SQLite deletes the file that a journal names as the journal of several databases."""
    VerdictStore(tmp_path).close()
    file, precious = tmp_path / "review.sqlite", tmp_path / "precious.txt"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    precious.write_text("precious")
    name, magic = bytes(precious.absolute()), bytes.fromhex("d9d505f920a163d7")
    head = magic + struct.pack(">5I", 0, 0, file.stat().st_size // 4096, 512, 4096)
    end = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    Path(f"{file}-journal").write_bytes(head.ljust(512, b"\0") + end)
    with pytest.raises(StoreError, match="a journal that names another file"):
        VerdictStore(tmp_path)
    assert precious.read_text() == "precious"
    with sqlite3.connect(file) as db:  # the journal is one that SQLite follows
        db.execute("SELECT count(*) FROM verdicts")
    assert not precious.exists()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_no_other_file_is_written_through_a_hard_link(tmp_path: Path, suffix: str) -> None:
    """An archive may unpack a part of a run as another name of a file that is there already."""
    precious = write(tmp_path / "thesis.tex", b"precious" * 10_000)
    run = tmp_path / "run"
    run.mkdir()
    VerdictStore(run).close()
    part = run / f"review.sqlite{suffix}"
    part.unlink(missing_ok=True)
    os.link(precious, part)
    with pytest.raises(StoreError, match="a hard link at review"):
        VerdictStore(run)
    assert precious.read_bytes() == b"precious" * 10_000


def test_a_journal_does_not_inflate_the_file(tmp_path: Path) -> None:
    VerdictStore(tmp_path).close()
    file = tmp_path / "review.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    head = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 12345, 2**31 - 1, 512, 4096)
    Path(f"{file}-journal").write_bytes(head.ljust(1024, b"\0"))
    size = file.stat().st_size
    with pytest.raises(StoreError, match="a journal that would make the file larger"):
        VerdictStore(tmp_path)
    assert file.stat().st_size == size


INSERT = (
    "INSERT INTO verdicts (reviewer, role, synthetic_id, real_id, verdict, blind, time) VALUES (?, ?, ?, ?, ?, 0, ?)"
)


@pytest.mark.parametrize(
    ("reviewer", "time", "found"),
    [
        ("\x1b]0;owned\x07\nmore", "2026-01-01", "a name of a reviewer"),
        ("anna" * 100, "2026-01-01", "a name of a reviewer"),
        ("anna", "\x1b[2J", "a name of a reviewer or a time"),
    ],
)
def test_names_that_the_page_would_refuse_are_refused(tmp_path: Path, reviewer: str, time: str, found: str) -> None:
    VerdictStore(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "review.sqlite")) as db, db:
        db.execute(INSERT, (reviewer, "training", "0", "1", "different", time))
    store = VerdictStore(tmp_path)
    with pytest.raises(StoreError, match=found):
        store.history()
    store.close()


def test_more_reviewers_and_rows_than_any_review_has(tmp_path: Path) -> None:
    rows = [(f"r{k}", "training", "0", "1", "different", "2026-01-01") for k in range(1001)]
    for name, change in (("many", rows), ("last", rows[:1])):
        run = tmp_path / name
        run.mkdir()
        VerdictStore(run).close()
        with contextlib.closing(sqlite3.connect(run / "review.sqlite")) as db, db:
            db.executemany(INSERT, change)
            if name == "last":
                db.execute("UPDATE sqlite_sequence SET seq = 9223372036854775807")
        with pytest.raises(StoreError, match="at most 10000000 of 1000"):
            VerdictStore(run)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_verdicts_in_a_pipe_are_refused_without_waiting(tmp_path: Path, suffix: str) -> None:
    if suffix:
        VerdictStore(tmp_path).close()
    os.mkfifo(tmp_path / f"review.sqlite{suffix}")
    with pytest.raises(StoreError, match="no plain file at review"):
        VerdictStore(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TRIGGER swaps AFTER INSERT ON verdicts BEGIN INSERT INTO verdicts SELECT NULL, NEW.reviewer, NEW.role, "
        "NEW.synthetic_id, NEW.real_id, 'different', NEW.blind, NEW.time; END",
        "DROP TABLE verdicts; CREATE VIEW verdicts AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
        " SELECT id, 'a' AS reviewer, 's' AS synthetic_id, 't' AS real_id, 'training' AS role, 'different' AS verdict,"
        " 1 AS blind, '' AS time FROM n",
    ],
)
def test_verdicts_with_a_schema_of_their_own_are_refused(tmp_path: Path, change: str) -> None:
    """A trigger could change verdicts as they are given, and a view could have no end."""
    VerdictStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "review.sqlite") as db:
        db.executescript(change)
    with pytest.raises(StoreError, match="another schema"):
        VerdictStore(tmp_path)


def test_pages_that_repeat_are_refused(tmp_path: Path) -> None:
    """A page that points to one child many times makes endless rows of a small file."""
    store = VerdictStore(tmp_path)
    store._db.executemany(INSERT, [("a", "training", f"s{i}", "t", "different", "") for i in range(3000)])
    (root,) = store._db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'verdicts'").fetchone()
    store.close()
    file = tmp_path / "review.sqlite"
    data = bytearray(file.read_bytes())
    at = (root - 1) * 4096
    assert data[at] == 5  # an inner page of a table
    first, second = struct.unpack_from(">2H", data, at + 12)
    data[at + second : at + second + 4] = data[at + first : at + first + 4]
    file.write_bytes(data)
    with pytest.raises(StoreError, match="a damaged file"):
        VerdictStore(tmp_path)


def test_a_verdict_that_is_no_text_is_refused(tmp_path: Path) -> None:
    store = VerdictStore(tmp_path)
    store._db.execute(INSERT, (b"\xff", "training", "s", "t", "different", ""))
    with pytest.raises(StoreError, match="no text"):
        store.history()
    store.close()


def test_command_line_says_what_is_wrong(run: Path, tmp_path: Path) -> None:
    def review(*words: object) -> Done:
        return command_line("review", *words)

    nothing = review(tmp_path / "nothing")
    assert nothing.returncode == 2 and "holds no audit" in nothing.stderr
    none = review(run, "--export", tmp_path / "v.csv")
    assert none.returncode == 2 and "expected verdicts in" in none.stderr
    store = VerdictStore(run)
    store.add("anna", ("s", "t", "training"), "different", blind=True)
    store.close()
    done = review(run, "--export", tmp_path / "v.csv")
    assert done.returncode == 0 and "1 verdicts in" in done.stdout
    assert (tmp_path / "v.csv").read_text().splitlines()[1].endswith("anna,s,t,training,different,true")
    (run / "audit.json").write_bytes(b"nonsense")
    damaged = review(run)
    assert damaged.returncode == 2 and "is damaged" in damaged.stderr and "Traceback" not in damaged.stderr


def test_a_full_disk_is_reported_and_loses_no_verdict(run: Path) -> None:
    store = VerdictStore(run)
    first, *_ = FinishedRun(run).pairs
    pair = (first.synthetic_id, first.real_id, first.role)
    store.add("anna", pair, "different", blind=False)
    with sqlite3.connect(run / "review.sqlite") as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then reports a full disk
    with pytest.raises(DiskFullError, match=r"disk is full\. Free some space and give the verdict again"):
        for _ in range(1000):
            store.add("anna", pair, "same person", blind=False)
    n = len(store.history())
    store._db.execute("PRAGMA max_page_count = 100000")
    store.add("anna", pair, "cannot tell", blind=False)
    assert len(store.history()) == n + 1 and store.history()[0].verdict == "different"
    store.close()


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "review.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"expected a file that can be read and written.*not read-only"):
        VerdictStore(tmp_path)
    (tmp_path / "review.sqlite").rmdir()
    (tmp_path / "review.sqlite").write_bytes(b"no database, but as long as the head of one is" * 10)
    with pytest.raises(StoreError, match="found a damaged file"):
        VerdictStore(tmp_path)


@pytest.mark.parametrize(("error", "status"), [(DiskFullError("full"), 507), (StoreError("damaged"), 500)])
def test_errors_of_the_store_reach_the_reviewer(error: Exception, status: int) -> None:
    def answer(_: object) -> Response:
        raise error

    async def ask() -> Response:
        return await ReviewApp._in_thread(answer)(Request({"type": "http"}))

    answered = asyncio.run(ask())
    assert answered.status_code == status and json.loads(bytes(answered.body)) == {"error": str(error)}
