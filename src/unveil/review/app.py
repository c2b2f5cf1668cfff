"""The server side of the review page: a few addresses below a secret token, for this machine only."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from typing import Any, TypedDict

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from unveil.errors import DiskFullError, SettingError, StoreError
from unveil.io.atomic import csv_text
from unveil.io.documents import read_json
from unveil.io.output_file import OutputKind, beginning_with
from unveil.results import ReviewPair, record_of
from unveil.review.images import ReviewImages
from unveil.review.queue import ReviewQueue
from unveil.review.summary import summarise
from unveil.review.verdicts import UNDONE, PairKey, ReviewVerdict, VerdictStore, checked_name

STATIC = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
MAX_BODY_BYTES = 4096
# The columns of a file of verdicts.
HEAD = ("time", "reviewer", "synthetic", "real", "role", "verdict", "blind")
VERDICTS_FILE = OutputKind("a file of verdicts", beginning_with(csv_text([HEAD])))
# Of a number in an address.
MAX_DIGITS = 12
# The page loads only its own files. The browser stores nothing and sends the address to no other site.
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


class GivenVerdict(TypedDict):
    """What the page sends for a verdict. ``index`` counts the pairs in the reviewer's order; null withdraws one."""

    reviewer: str
    index: int
    verdict: ReviewVerdict | None


class AccessControl:
    """Passes on only requests that name this machine as host and start their path with the token."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope)
        # DNS rebinding: another site can point its name at this machine, but the browser still sends that name.
        if request.headers.get("host", "") not in self._hosts:
            await Response("This address works on its own machine only.", 421, HEADERS)(scope, receive, send)
            return
        token, _, rest = request.url.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            await Response("Open the address that unveil review printed.", 404, HEADERS)(scope, receive, send)
            return
        await self._app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)


class ReviewApp:
    """The requests of the page, answered from a queue of pairs, their images and the verdict store."""

    def __init__(self, queue: ReviewQueue, images: ReviewImages, store: VerdictStore, note: str) -> None:
        self._queue, self._images, self._store, self._note = queue, images, store, note

    def asgi(self, token: str, hosts: frozenset[str]) -> ASGIApp:
        """The ASGI application behind its access control."""
        routes = [
            *(Route(f"/{name}", self._static(*file)) for name, file in STATIC.items()),
            Route("/queue", self._in_thread(self.queue)),
            Route("/pair/{index}", self._in_thread(self.pair)),
            Route("/neighbours/{index}", self._in_thread(self.neighbours)),
            Route("/image/{number}", self._in_thread(self.image)),
            Route("/verdict", self.verdict, methods=["POST"]),
            Route("/agreement", self._in_thread(self.agreement)),
            Route("/verdicts.csv", self._in_thread(self.export)),
        ]
        return AccessControl(Starlette(routes=routes), token, hosts)

    @staticmethod
    def _static(name: str, media_type: str) -> Callable[[Request], Response]:
        data = (resources.files("unveil.review") / "static" / name).read_bytes()
        return lambda _: Response(data, 200, HEADERS, media_type)

    @staticmethod
    def _in_thread(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers in a thread. Errors become a status with their message."""

        async def respond(request: Request) -> Response:
            try:
                return await to_thread.run_sync(answer, request)
            except SettingError as error:
                return _json({"error": str(error)}, 400)
            except StoreError as error:
                return _json({"error": str(error)}, 507 if isinstance(error, DiskFullError) else 500)

        return respond

    def queue(self, request: Request) -> Response:
        """The verdicts of a reviewer so far, in the reviewer's order of the pairs."""
        reviewer = checked_name(request.query_params.get("reviewer", ""))
        own = self._store.current().get(reviewer, {})
        recorded = [own.get(_key(self._queue.pairs[i])) for i in self._queue.order(reviewer)]
        return _json(
            {
                "reviewer": reviewer,
                "blind": self._queue.blind,
                "verdicts": [None if r is None else r.verdict for r in recorded],
                "aligned": self._images.all_aligned,
                "missing": list(self._images.missing),
                "note": self._note,
            }
        )

    def pair(self, request: Request) -> Response:
        """A pair: the numbers of its images, and the details of the pair unless the review is blind."""
        pair = self._pair(request)
        return _json(
            {
                "synthetic": self._images.number("synthetic", pair.synthetic_id),
                "real": self._images.number(pair.role, pair.real_id),
                "details": {} if self._queue.blind else asdict(pair),
            }
        )

    def neighbours(self, request: Request) -> Response:
        """Other images of both people. An open review also gets the closest images of the other set."""
        groups = self._images.neighbours(self._pair(request), self._queue.blind)
        return _json([asdict(group) for group in groups if group.images])

    def image(self, request: Request) -> Response:
        """An image by its number."""
        found = self._images.data(_number(request, "number"), face=request.query_params.get("view") == "face")
        if found is None:
            return Response("There is no such image, or it is not readable.", 404, HEADERS)
        return Response(found[0], 200, HEADERS, found[1])

    async def verdict(self, request: Request) -> Response:
        """Records a verdict. The answer is sent when it is on disk."""
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json({"error": "expected a verdict as JSON"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return _json({"error": f"expected at most {MAX_BODY_BYTES} bytes"}, 413)
        return await self._in_thread(lambda _: self._record(body))(request)

    def _record(self, body: bytes) -> Response:
        fields = _parse(body)
        reviewer = checked_name(fields["reviewer"])
        pair = self._pair_at(reviewer, fields["index"])
        verdict = UNDONE if fields["verdict"] is None else fields["verdict"]
        self._store.add(reviewer, _key(pair), verdict, blind=self._queue.blind)
        return _json({"recorded": fields["verdict"]})

    def agreement(self, request: Request) -> Response:
        """The progress and the agreement of all reviewers. It contains no verdict on a single pair."""
        verdicts = self._store.current()
        review = summarise(verdicts, self._queue.pairs)
        return _json(
            {
                "reviewers": [{"name": name, "n": len(own)} for name, own in sorted(verdicts.items())],
                "alpha": None if review is None or review.krippendorff is None else asdict(review.krippendorff),
                "kappas": []
                if review is None
                else [{"reviewers": list(a.reviewers), **asdict(a.kappa)} for a in review.cohen],
            }
        )

    def export(self, request: Request) -> Response:
        """The history of verdicts as CSV, except during a blind review: it names the roles."""
        if self._queue.blind:
            raise HTTPException(403, "A blind review shows no names. Use unveil review RUN --export FILE.", HEADERS)
        return Response(
            verdicts_csv(self._store),
            200,
            {**HEADERS, "Content-Disposition": 'attachment; filename="verdicts.csv"'},
            "text/csv",
        )

    def _pair(self, request: Request) -> ReviewPair:
        index = _number(request, "index")
        if index >= len(self._queue.pairs):
            raise _not_found()
        return self._pair_at(checked_name(request.query_params.get("reviewer", "")), index)

    def _pair_at(self, reviewer: str, index: int) -> ReviewPair:
        n = len(self._queue.pairs)
        if not 0 <= index < n:
            raise SettingError(f"index: expected 0 to {n - 1}, found {index}")
        return self._queue.pairs[self._queue.order(reviewer)[index]]


def _number(request: Request, name: str) -> int:
    """A number in the path. Whatever is no number of a pair or an image is an address that does not exist."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise _not_found()
    return int(text)


def _not_found() -> HTTPException:
    return HTTPException(404, "There is no such pair or image.", HEADERS)


def verdicts_csv(store: VerdictStore) -> str:
    """The history of verdicts, one row each. No cell is a formula to a spreadsheet."""
    rows = ((v.time, v.reviewer, *v.pair, v.verdict, str(v.blind).lower()) for v in store.history())
    return csv_text([HEAD, *rows])


def _parse(body: bytes) -> GivenVerdict:
    try:
        return record_of(read_json(body), GivenVerdict)
    except ValueError as error:
        raise SettingError(
            f"expected a JSON object with reviewer (text), index (number) and verdict (text or null), found another: "
            f"{error}"
        ) from None


def _key(pair: ReviewPair) -> PairKey:
    return pair.synthetic_id, pair.real_id, pair.role


def _json(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, HEADERS)
