"""The terminal: text from files reaches it without control characters, and messages of the library appear on it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import typer

from unveil.io.text import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

LIBRARY = logging.getLogger("unveil")

# Below a copy of a set without some of its images.
COPIED_UNREAD = (
    "Files of the set that are no images (tables, PDFs, videos) were not compared. Where the form of the copy has "
    "them, they are in it and may show or name who was removed."
)


def echo(text: str = "", *, error: bool = False) -> None:
    """Prints a line, with control characters of names and files escaped."""
    typer.echo(printable(text, keep="\n"), err=error)


def open_console(*, error: bool = False, wrap: bool = True) -> Console:
    """A console of rich on which control characters of names and files are escaped, also inside tables."""
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control:
                    yield segment
                else:
                    yield Segment(printable(segment.text, keep="\n"), segment.style)

    return SafeConsole(stderr=error, highlight=False, soft_wrap=wrap)


class _Handler(logging.Handler):
    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.INFO)
        self._write_record = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write_record(record)
        except Exception:  # a broken terminal or a full disk under the log never ends an audit
            self.handleError(record)


@contextlib.contextmanager
def messages_to(write: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Passes every message of the library to ``write`` for the time of a block."""
    handler, level = _Handler(write), LIBRARY.level
    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(level)


def show_from(level: int) -> None:
    """Shows messages from a level on, such as ``logging.DEBUG``, for as long as they are shown on the terminal."""
    LIBRARY.setLevel(level)
    for handler in LIBRARY.handlers:
        if isinstance(handler, _Handler):
            handler.setLevel(level)


@contextlib.contextmanager
def messages_on_terminal() -> Iterator[None]:
    """Shows messages of the library on standard error, above a progress bar if there is one. Once, however nested."""
    if any(isinstance(handler, _Handler) for handler in LIBRARY.handlers):
        yield
        return
    with messages_to(_show):
        yield


def _show(record: logging.LogRecord) -> None:
    style = "yellow" if record.levelno >= logging.WARNING else "dim"
    open_console(error=True).print(record.getMessage(), markup=False, style=style)
