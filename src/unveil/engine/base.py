"""The seam behind which a cluster stands."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unveil.io.remote import Say

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Array = npt.NDArray[np.floating]


class Task(Protocol[T_contra, R_co]):
    """What a worker is sent once: called there, it opens whatever is needed and returns what does its tasks."""

    def __call__(self, say: Say) -> Callable[[T_contra], R_co]:
        """``say`` brings a line to whoever started the job."""


class SharedArray(Protocol):
    """An array that workers can fetch, once a machine."""

    def fetch(self) -> Array:
        """The array, not to be written to."""


class EngineListener(Protocol):
    """Is told how the work goes."""

    def say(self, text: str) -> None: ...

    def workers(self, n: int, retries: int) -> None:
        """How many workers there are now, and how many tasks were given out once more so far."""


@dataclass(frozen=True)
class WorkerFailure:
    """In place of a result: every worker that held the task ended, so many times as it may be tried."""

    told: str


class Engine(Protocol):
    """Machines that do tasks."""

    @property
    def told(self) -> str:
        """What it consists of."""

    def map(
        self,
        name: str,
        job: Task[T, R],
        tasks: Iterable[T],
        *,
        attempts: int = 3,
        gpus: float = 0,
        finished: Callable[[T], None] = lambda task: None,
    ) -> Generator[R | WorkerFailure, None, None]:
        """Results in the order of the tasks, which are taken as workers get free.

        A task whose worker ends is given to another, ``attempts`` times in all. ``finished`` is called with each task
        as it is done, whatever the order. Raises what a task raises, and EngineError when there is nobody to work.
        """

    def share(self, array: Array) -> SharedArray:
        """Lets workers fetch an array, for as long as what is returned is kept."""

    def close(self) -> None:
        """Lets the machines go."""


AnyTask = Task[Any, Any]
