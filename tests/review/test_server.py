"""The server behind the review page: who may ask what, and what survives."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.cli.runner import Done
from tests.cli.runner import unveil as command_line
from tests.review.conftest import Served
from unveil.errors import StoreError
from unveil.review import VerdictStore
from unveil.runs.finished import FinishedRun

Serve = Callable[..., Served]


def ask(
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


def say(address: str, place: int, verdict: str | None = "same person", reviewer: str = "anna") -> int:
    body = json.dumps({"reviewer": reviewer, "place": place, "verdict": verdict})
    return ask(address, "verdict", "POST", body, **{"Content-Type": "application/json"})[0]


def test_only_this_machine_with_the_token_is_answered(run: Path, served: Serve) -> None:
    address = served(run).address
    parts = urlsplit(address)
    root = f"{parts.scheme}://{parts.netloc}/"
    status, page, headers = ask(address, "")
    assert status == 200 and b"unveil review" in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    for path in ("", "wrong/", "deck?reviewer=a", parts.path[1:-2] + "x/", "../" + parts.path[1:]):
        assert ask(root, path)[0] == 404, path
    assert ask(address, "", Host="evil.example")[0] == 421
    assert ask(address, "", Host=f"evil.example:{parts.port}")[0] == 421
    assert ask(address, "image/99999999")[0] == 404 and ask(address, "image/-1")[0] == 404
    assert ask(address, "image/..%2f..%2faudit.json")[0] == 404 and ask(address, "audit.json")[0] == 404
    with socket.socket() as other:
        other.settimeout(2)
        with pytest.raises(OSError):
            other.connect(("127.0.0.2", int(parts.port or 0)))


def test_what_is_no_verdict_is_refused(run: Path, served: Serve) -> None:
    address = served(run).address
    good = {"reviewer": "anna", "place": 0, "verdict": "different"}
    kind = {"Content-Type": "application/json"}
    assert ask(address, "verdict", "POST", json.dumps(good))[0] == 415
    assert ask(address, "verdict", "POST", " " * 5000, **kind)[0] == 413
    assert ask(address, "verdict")[0] == 405
    bad = (
        *("", "[]", "{", '"x"', "null", json.dumps({**good, "verdict": "maybe"}), json.dumps({**good, "place": 10**9})),
        *(json.dumps({**good, "place": -1}), json.dumps({**good, "reviewer": " "}), json.dumps({**good, "place": 1.5})),
        *(json.dumps({**good, "reviewer": "x" * 61}), json.dumps({**good, "reviewer": "a\u202eb"}), "[" * 4000),
    )
    for body in bad:
        status, answer, _ = ask(address, "verdict", "POST", body, **kind)
        assert status == 400 and json.loads(answer)["error"], body
    assert ask(address, "deck?reviewer=")[0] == 400 and ask(address, "pair/10000000?reviewer=a")[0] == 400
    assert VerdictStore(run).history() == []


def test_no_verdict_is_lost_to_kill_9(run: Path, served: Serve) -> None:
    """What was acknowledged is there, whenever the process is killed."""
    kept: list[tuple[int, str]] = []
    rng = np.random.default_rng(1)
    for _ in range(6):
        server = served(run)
        stop = int(rng.integers(1, 25))
        for n in range(60):
            if n == stop:
                # At no known moment of the next ones.
                Timer(float(rng.random()) * 0.05, server.process.kill).start()
            place, verdict = int(rng.integers(40)), str(rng.choice(["same image", "same person", "different"]))
            try:
                if say(server.address, place, verdict) == 200:
                    kept.append((place, verdict))
            except (OSError, http.client.HTTPException):
                break
        server.kill()
    store = VerdictStore(run)
    history = [(s.pair, s.verdict) for s in store.history()]
    store.close()
    with sqlite3.connect(run / "review.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    pairs = [(p.synthetic_id, p.real_id, p.role) for p in FinishedRun(run).pairs]
    told = [(pairs[place], verdict) for place, verdict in kept]
    assert len(kept) > 30 and len(history) >= len(told)
    # In order, with at most the one more that each kill may have left without an answer.
    remaining = iter(history)
    assert all(one in remaining for one in told)
    assert len(history) <= len(told) + 6


def test_verdicts_are_only_added(tmp_path: Path) -> None:
    store = VerdictStore(tmp_path)
    store.say(" anna  b ", ("s", "t", "training"), "different", blind=False)
    store.say("anna b", ("s", "t", "training"), "same person", blind=False)
    assert store.standing()["anna b"]["s", "t", "training"].verdict == "same person"
    store.say("anna b", ("s", "t", "training"), "undone", blind=False)
    assert store.standing() == {} and len(store.history()) == 3
    with sqlite3.connect(store.path) as db:
        for change in ("UPDATE verdicts SET verdict = 'different'", "DELETE FROM verdicts"):
            with pytest.raises(sqlite3.DatabaseError, match="only added"):
                db.execute(change)
    assert store.path.stat().st_mode & 0o077 == 0
    store.close()


@pytest.mark.parametrize("what", ["text", "other program", "truncated"])
def test_files_that_hold_no_verdicts(tmp_path: Path, what: str) -> None:
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
    with pytest.raises(StoreError, match="move it away"):
        VerdictStore(tmp_path)


def test_command_line_says_what_is_wrong(run: Path, tmp_path: Path) -> None:
    def review(*words: object) -> Done:
        return command_line("review", *words)

    nothing = review(tmp_path / "nothing")
    assert nothing.returncode == 2 and "holds no audit" in nothing.stderr
    none = review(run, "--export", tmp_path / "v.csv")
    assert none.returncode == 2 and "nobody has given a verdict" in none.stderr
    store = VerdictStore(run)
    store.say("anna", ("s", "t", "training"), "different", blind=True)
    store.close()
    done = review(run, "--export", tmp_path / "v.csv")
    assert done.returncode == 0 and "1 verdicts in" in done.stdout
    assert (tmp_path / "v.csv").read_text().splitlines()[1].endswith("anna,s,t,training,different,true")
    (run / "audit.json").write_bytes(b"nonsense")
    damaged = review(run)
    assert damaged.returncode == 2 and "is damaged" in damaged.stderr and "Traceback" not in damaged.stderr
