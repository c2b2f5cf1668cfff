"""The messages between the process of a command and the process that is connected to its cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from unveil.engine.base import AnyTask, SharedArray, Task

# The arrays that the connected process has shared with workers, by name.
ARRAYS: dict[str, SharedArray] = {}


@dataclass(frozen=True)
class Connect:
    """Begins: where the cluster is, and the folder for its files if it is started here.

    ``arrays`` is the folder of arrays to share. ``program`` is the first word of the command; workers find modules
    beside it.
    """

    address: str | None
    retry_for: float
    folder: str
    arrays: str
    program: str


@dataclass(frozen=True)
class Map:
    """Asks for the results of a task. Items are asked for with `Next`, and the results end with `Done` or `Failed`."""

    name: str
    task: AnyTask
    attempts: int
    gpus: float


@dataclass(frozen=True)
class Item:
    """The next item, and its place among all items."""

    place: int
    item: Any


@dataclass(frozen=True)
class End:
    """There are no more items."""


@dataclass(frozen=True)
class Stop:
    """Nobody needs further results."""


@dataclass(frozen=True)
class Share:
    """An array in a file, which is then removed."""

    name: str
    file: str


@dataclass(frozen=True)
class Release:
    """A shared array that nobody needs any more."""

    name: str


@dataclass(frozen=True)
class Close:
    """Ends the connected process."""


@dataclass(frozen=True)
class Ready:
    """The cluster is reached; ``description`` is its size."""

    description: str


@dataclass(frozen=True)
class Next:
    """Asks for an item."""


@dataclass(frozen=True)
class Finished:
    """The item at a place is done."""

    place: int


@dataclass(frozen=True)
class Result:
    """The next result, in the order of the items."""

    value: Any


@dataclass(frozen=True)
class Done:
    """There are no more results."""


@dataclass(frozen=True)
class Failed:
    """There are no results, because of this error."""

    error: Exception


@dataclass(frozen=True)
class Logged:
    """A message for the log."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Workers:
    """As `unveil.engine.EngineListener.workers`."""

    n: int
    retries: int


@dataclass(frozen=True)
class Unwrapped(Task[Item, Any]):
    """Applies a task to what items hold, so that an item is recognised when it is done."""

    task: AnyTask

    def __call__(self) -> Callable[[Item], Any]:
        function = self.task()
        return lambda item: function(item.item)


def shared_array(name: str) -> SharedArray:
    """The shared array of that name, in the connected process."""
    return ARRAYS[name]


def receive(connection: Connection) -> Any:
    """The next message. Raises EOFError or OSError when the other process has ended."""
    return pickle.loads(connection.recv_bytes())  # noqa: S301 (from our own process)
