"""The part of the Ray engine that runs in a worker process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from unveil import __version__
from unveil.engine.base import AnyTask
from unveil.errors import UnveilError


@dataclass(frozen=True)
class Message:
    """A log record that a worker sends to the driver."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Outcome:
    """The result of one item, or the error that was raised on purpose, and the messages logged meanwhile."""

    value: Any
    error: UnveilError | None
    messages: list[Message]


class _Collector(logging.Handler):
    """Collects messages until they are sent."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._messages: list[Message] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(Message(record.name, record.levelno, record.getMessage()))

    def collected(self) -> list[Message]:
        """The messages since the last call."""
        messages, self._messages = self._messages, []
        return messages


class Worker:
    """An actor in a process of its own, on some machine; it holds one open task at a time."""

    def __init__(self) -> None:
        self._number = -1
        self._function: Callable[[Any], Any] = lambda item: item
        self._collector = _Collector()
        logger = logging.getLogger("unveil")
        logger.setLevel(logging.INFO)
        logger.addHandler(self._collector)
        logger.propagate = False

    def hello(self) -> tuple[str, str]:
        """The address of this machine, and the version of unveil on it."""
        return str(ray.util.get_node_ip_address()), __version__  # type: ignore[no-untyped-call]

    def apply(self, number: int, task: AnyTask, item: Any) -> Outcome:
        """Applies a task to an item, and opens the task first unless ``number`` is that of the open one."""
        value, error = None, None
        try:
            if number != self._number:
                self._function = lambda item: item  # releases what the last task had opened
                self._function, self._number = task(), number
            value = self._function(item)
        except UnveilError as raised:
            error = raised
        return Outcome(value, error, self._collector.collected())
