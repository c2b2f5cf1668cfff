"""Serves the review page on this machine until the reviewer stops it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import uvicorn

from unveil.errors import InputError, SettingError, StoreError
from unveil.io.atomic import write_bytes
from unveil.io.output_file import check_output_file
from unveil.io.run_directory import VERDICTS
from unveil.report.text import false_findings
from unveil.results import AuditResult
from unveil.review.app import VERDICTS_FILE, ReviewApp, verdicts_csv
from unveil.review.images import ReviewImages
from unveil.review.queue import ReviewQueue
from unveil.review.verdicts import VerdictStore
from unveil.runs.finished import FinishedRun

LOOPBACK = "127.0.0.1"


def serve(
    run: FinishedRun,
    *,
    blind: bool = False,
    findings_only: bool = False,
    port: int = 0,
    ready: Callable[[str, ReviewQueue], None],
) -> None:
    """Serves the review page of a run on the loopback address until it is interrupted.

    Calls ``ready`` with the address of the page. Raises SettingError if the port is in use, and InputError if the run
    has no pair to review.
    """
    queue = ReviewQueue(run.pairs, blind=blind, findings_only=findings_only, seed=run.seed)
    if not queue.pairs:
        what = "findings" if findings_only else "pairs"
        raise InputError(f"expected {what} to review, found none in {run.path}. No review is needed")
    images, store = ReviewImages(run), VerdictStore(run.path)
    token = secrets.token_urlsafe(18)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise SettingError(
                f"--port: expected a free port, found {port} ({error.strerror}). Name another port, or leave --port "
                "out to use any free one"
            ) from None
        # From here on a browser that opens the address waits instead of being refused.
        listening.listen()
        port = listening.getsockname()[1]
        hosts = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
        # Blind reviewers must not know how many of the pairs the audit takes for leaks.
        app = ReviewApp(queue, images, store, "" if blind else _note(run.result)).asgi(token, hosts)
        # No access log: addresses contain the token.
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        ready(f"http://{LOOPBACK}:{port}/{token}/", queue)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            store.close()


@contextlib.contextmanager
def door_to(address: str) -> Iterator[Path]:
    """A file that leads a browser to an address and that only this user can read.

    Programs show their arguments to every user of a machine, so the address is no argument of the browser.
    """
    with tempfile.TemporaryDirectory(prefix="unveil-review-") as folder:
        file = Path(folder) / "open.html"
        target = escape(address, quote=True)
        page = (
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<title>unveil review</title><meta http-equiv="refresh" content="0; url={target}">'
            f'<a href="{target}">Open the review</a>'
        )
        write_bytes(file, page.encode("utf-8"))
        yield file


def _note(result: AuditResult) -> str:
    """How many findings there are, and how many of them are expected to be false."""
    n = len(result.significant_people)
    false = false_findings(result.expected_false_people, result.manifest["settings"]["fdr"])
    return f"{n:,} training people are significant. {false}" if n else "Nobody is significant."


def write_verdicts(run: Path, out: Path) -> int:
    """Writes all verdicts of a run as CSV and returns their number.

    Raises StoreError if there are none, and SettingError for a place among the images or with another file.
    """
    check_output_file("--export", out, VERDICTS_FILE)
    with contextlib.suppress(StoreError):  # verdicts on a damaged run are not lost
        FinishedRun(run).check_outside("--export", out)
    if not (run / VERDICTS).exists():
        raise StoreError(f"expected verdicts in {run}, found none. Start a review: unveil review {run}")
    store = VerdictStore(run)
    try:
        write_bytes(out, verdicts_csv(store).encode("utf-8"))
        return len(store.history())
    finally:
        store.close()
