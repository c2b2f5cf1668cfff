"""Serving the page on this machine until the reviewer is done."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from unveil.errors import InputError, SettingError, StoreError
from unveil.io.atomic import write_bytes
from unveil.review.app import ReviewPage, as_csv
from unveil.review.images import ReviewImages
from unveil.review.queue import ReviewQueue
from unveil.review.verdicts import FILE, VerdictStore
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
    """Serves the review page of a run on the loopback address until interrupted; ``ready`` is called with its address.

    Raises SettingError when the port is taken, and InputError when the run has no pair to look at.
    """
    deck = ReviewQueue(run.pairs, blind=blind, findings_only=findings_only, seed=run.seed)
    if not deck.pairs:
        raise InputError(f"{run.path}: the audit lists nobody and kept no pairs, so there is nothing to review")
    shown, store = ReviewImages(run), VerdictStore(run.path)
    token = secrets.token_urlsafe(18)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise SettingError(
                f"--port {port}: {error.strerror}; choose another, or none for any that is free"
            ) from None
        # Whoever follows the address at once waits instead of being refused.
        listening.listen()
        port = listening.getsockname()[1]
        hosts = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
        app = ReviewPage(deck, shown, store).app(token, hosts)
        # No log: addresses hold the token, and what is asked is nobody's business.
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        ready(f"http://{LOOPBACK}:{port}/{token}/", deck)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            store.close()


def write_verdicts(run: Path, out: Path) -> int:
    """Writes every verdict ever given in a run as CSV and returns their number; StoreError when there are none."""
    if not (run / FILE).exists():
        raise StoreError(f"{run}: nobody has given a verdict yet; unveil review {run}")
    store = VerdictStore(run)
    try:
        write_bytes(out, as_csv(store).encode("utf-8"))
        return len(store.history())
    finally:
        store.close()
