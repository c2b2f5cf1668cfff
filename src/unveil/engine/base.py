"""The interface of an engine, behind which a cluster works."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unveil.errors import EngineError

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Array = npt.NDArray[np.floating]


class Task(Protocol[T_contra, R_co]):
    """A task that is pickled and sent to each worker once.

    Called there, it opens what it needs and returns the function that turns each item into its result. Messages that it
    logs below the logger ``unveil`` are logged again by the process that started the task.
    """

    def __call__(self) -> Callable[[T_contra], R_co]:
        """Opens the task in this process."""


class SharedArray(Protocol):
    """An array that workers can fetch, once per machine."""

    def fetch(self) -> Array:
        """The array, which must not be written to."""


class EngineListener(Protocol):
    """Receives the state of a cluster; every `unveil.progress.Progress` is one."""

    def workers(self, n: int, retries: int) -> None:
        """The cluster has ``n`` workers now and has retried ``retries`` items so far."""


@dataclass(frozen=True)
class WorkerFailure:
    """Stands in place of a result: every worker that tried the item ended. ``reason`` is that of the last one."""

    reason: str

    def error(self, doing: str) -> EngineError:
        """The error of a run that cannot do without the result; ``doing`` says what the workers did."""
        return EngineError(
            f"workers end while {doing} ({self.reason}). Check that they have the memory that docs/how-to/cluster.md "
            "asks for, and run the same command again; finished work is stored"
        )


class Engine(Protocol):
    """Machines that apply tasks to items."""

    @property
    def description(self) -> str:
        """The size of the engine, for people."""

    def map(
        self,
        name: str,
        task: Task[T, R],
        items: Iterable[T],
        *,
        attempts: int = 3,
        gpus: float = 0,
        finished: Callable[[T], None] = lambda item: None,
    ) -> Generator[R | WorkerFailure, None, None]:
        """Results in the order of the items, which are taken as workers become free.

        An item whose worker ends is given to another, up to ``attempts`` attempts in all. ``gpus`` is what each worker
        needs. ``finished`` is called with each item when it is done, in any order. Raises what the task raises, and
        EngineError when no worker starts.
        """

    def share(self, array: Array) -> SharedArray:
        """Makes an array available to the workers, for as long as the returned object exists."""

    def close(self) -> None:
        """Releases the machines."""


AnyTask = Task[Any, Any]
