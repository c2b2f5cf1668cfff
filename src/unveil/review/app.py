"""The review page's server side: a few addresses below a secret, for this machine alone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from unveil.analysis.review_pairs import ReviewPair
from unveil.errors import SettingError
from unveil.io.atomic import csv_text
from unveil.review.images import ReviewImages
from unveil.review.queue import ReviewQueue
from unveil.review.summary import combined
from unveil.review.verdicts import UNDONE, PairKey, VerdictStore, named

STATIC = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
MAX_BODY_BYTES = 4096
# Nothing but this page's own files runs, is shown or is asked; nothing is kept by the browser or told to others.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guarded:
    """Lets through only what names this machine as host and has the token at the head of its path."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope)
        # Another site's page may point a name of its own at this machine; it cannot make the browser say ours.
        if request.headers.get("host", "") not in self._hosts:
            await Response("this address is for this machine alone", 421, HEADERS)(scope, receive, send)
            return
        token, _, rest = request.url.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            await Response("open the address that unveil review printed", 404, HEADERS)(scope, receive, send)
            return
        await self._app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)


class ReviewPage:
    """What the page can ask, over a deck of pairs, their images and the store of verdicts."""

    def __init__(self, deck: ReviewQueue, shown: ReviewImages, store: VerdictStore) -> None:
        self._deck, self._shown, self._store = deck, shown, store

    def app(self, token: str, hosts: frozenset[str]) -> ASGIApp:
        """The application, guarded."""
        routes = [
            *(Route(f"/{name}", self._static(*file)) for name, file in STATIC.items()),
            Route("/deck", self._threaded(self.deck)),
            Route("/pair/{place:int}", self._threaded(self.pair)),
            Route("/neighbours/{place:int}", self._threaded(self.neighbours)),
            Route("/image/{number:int}", self._threaded(self.image)),
            Route("/verdict", self.verdict, methods=["POST"]),
            Route("/agreement", self._threaded(self.agreement)),
            Route("/verdicts.csv", self._threaded(self.export)),
        ]
        return Guarded(Starlette(routes=routes), token, hosts)

    @staticmethod
    def _static(name: str, media_type: str) -> Callable[[Request], Response]:
        data = (resources.files("unveil.review") / "static" / name).read_bytes()
        return lambda _: Response(data, 200, HEADERS, media_type)

    @staticmethod
    def _threaded(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An answer from a thread, with what the page may not ask told instead of shown as a crash."""

        async def respond(request: Request) -> Response:
            try:
                return await to_thread.run_sync(answer, request)
            except SettingError as error:
                return _json({"error": str(error)}, 400)

        return respond

    def deck(self, request: Request) -> Response:
        """How many pairs there are, and what this reviewer said of each so far."""
        reviewer = named(request.query_params.get("reviewer", ""))
        own = self._store.standing().get(reviewer, {})
        said = [own.get(_key(self._deck.pairs[i])) for i in self._deck.order(reviewer)]
        return _json(
            {
                "reviewer": reviewer,
                "blind": self._deck.blind,
                "verdicts": [None if s is None else s.verdict for s in said],
                "aligned": self._shown.all_aligned,
                "missing": list(self._shown.missing),
            }
        )

    def pair(self, request: Request) -> Response:
        """A pair: the numbers of its images, and unless blind what is known of it."""
        pair = self._pair(request)
        told = {} if self._deck.blind else asdict(pair)
        return _json(
            {
                "synthetic": self._shown.number("synthetic", pair.synthetic_id),
                "real": self._shown.number(pair.role, pair.real_id),
                "told": told,
            }
        )

    def neighbours(self, request: Request) -> Response:
        """Other images to compare with; blind, only those of the same person and of the same synthetic identity."""
        groups = self._shown.neighbours(self._pair(request), self._deck.blind)
        return _json([asdict(group) for group in groups if group.images])

    def image(self, request: Request) -> Response:
        """An image by its number."""
        found = self._shown.data(request.path_params["number"], face=request.query_params.get("view") == "face")
        if found is None:
            return Response("no such image, or it cannot be read any more", 404, HEADERS)
        return Response(found[0], 200, HEADERS, found[1])

    async def verdict(self, request: Request) -> Response:
        """Takes a verdict; answered when it is on disk."""
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json({"error": "a verdict is JSON"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return _json({"error": "a verdict is short"}, 413)
        return await self._threaded(lambda _: self._say(body))(request)

    def _say(self, body: bytes) -> Response:
        said = _parse(body)
        reviewer = named(said["reviewer"])
        pair = self._at(reviewer, said["place"])
        verdict = UNDONE if said["verdict"] is None else said["verdict"]
        self._store.say(reviewer, _key(pair), verdict, blind=self._deck.blind)
        return _json({"said": said["verdict"]})

    def agreement(self, request: Request) -> Response:
        """How far all reviewers are, and whether they agree; no verdict of another on any pair."""
        standing = self._store.standing()
        review = combined(standing, self._deck.pairs)
        return _json(
            {
                "reviewers": [{"name": name, "n": len(own)} for name, own in sorted(standing.items())],
                "alpha": None if review is None or review.krippendorff is None else asdict(review.krippendorff),
                "kappas": []
                if review is None
                else [{"reviewers": list(a.reviewers), **asdict(a.kappa)} for a in review.cohen],
            }
        )

    def export(self, request: Request) -> Response:
        """Everything that was ever said, as CSV."""
        return Response(
            as_csv(self._store),
            200,
            {**HEADERS, "Content-Disposition": 'attachment; filename="verdicts.csv"'},
            "text/csv",
        )

    def _pair(self, request: Request) -> ReviewPair:
        return self._at(named(request.query_params.get("reviewer", "")), request.path_params["place"])

    def _at(self, reviewer: str, place: int) -> ReviewPair:
        if not 0 <= place < len(self._deck.pairs):
            raise SettingError(f"there are {len(self._deck.pairs)} pairs, number {place + 1} is not among them")
        return self._deck.pairs[self._deck.order(reviewer)[place]]


def as_csv(store: VerdictStore) -> str:
    """The history of verdicts, a line each; no cell is a formula to a spreadsheet."""
    head = ("at", "reviewer", "synthetic", "real", "role", "verdict", "blind")
    lines = ((s.at, s.reviewer, *s.pair, s.verdict, str(s.blind).lower()) for s in store.history())
    return csv_text([head, *lines])


def _parse(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
        known: dict[str, type | tuple[type, ...]] = {"reviewer": str, "place": int, "verdict": (str, type(None))}
        if isinstance(said, dict) and all(isinstance(said.get(name), kind) for name, kind in known.items()):
            return said
    except (ValueError, RecursionError):
        pass
    raise SettingError("a verdict names its reviewer, its place and what was said")


def _key(pair: ReviewPair) -> PairKey:
    return pair.synthetic_id, pair.real_id, pair.role


def _json(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, HEADERS)
