"""An engine without machines: tasks are done here, in any order, and pickled on the way as they would be."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from unveil.engine import SharedArray, WorkerFailure
from unveil.engine.base import Array


@dataclass(frozen=True)
class Held:
    """A shared array."""

    array: Array

    def fetch(self) -> Array:
        array = self.array.view()
        array.setflags(write=False)
        return array


class Here:
    """Does tasks in this process; those that ``lose`` says are lost."""

    told = "this process"

    def __init__(self, seed: int = 0, lose: Callable[[Any], bool] = lambda task: False) -> None:
        self._random, self._lose = random.Random(seed), lose
        self.done: list[Any] = []

    def map(
        self,
        name: str,
        job: Any,
        tasks: Iterable[Any],
        *,
        attempts: int = 3,
        gpus: float = 0,
        finished: Callable[[Any], None] = lambda task: None,
    ) -> Generator[Any, None, None]:
        does = pickle.loads(pickle.dumps(job))(lambda text: None)
        all_tasks = list(tasks)
        results: dict[int, Any] = {}
        for i in self._random.sample(range(len(all_tasks)), len(all_tasks)):
            if self._lose(all_tasks[i]):
                results[i] = WorkerFailure("told to be")
                continue
            results[i] = does(pickle.loads(pickle.dumps(all_tasks[i])))
            self.done.append(all_tasks[i])
            finished(all_tasks[i])
        yield from (results[i] for i in range(len(all_tasks)))

    def share(self, array: Array) -> SharedArray:
        return Held(array)

    def close(self) -> None: ...
