"""An engine without machines: items are done in this process, in random order, and pickled as a cluster would."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from unveil.engine import SharedArray, WorkerFailure
from unveil.engine.base import Array


@dataclass(frozen=True)
class LocalArray:
    """A shared array."""

    array: Array

    def fetch(self) -> Array:
        array = self.array.view()
        array.setflags(write=False)
        return array


class LocalEngine:
    """Applies tasks in this process; items for which ``lose`` returns true are lost."""

    description = "this process"

    def __init__(self, seed: int = 0, lose: Callable[[Any], bool] = lambda item: False) -> None:
        self._random, self._lose = random.Random(seed), lose
        self.done: list[Any] = []

    def map(
        self,
        name: str,
        task: Any,
        items: Iterable[Any],
        *,
        attempts: int = 3,
        gpus: float = 0,
        finished: Callable[[Any], None] = lambda item: None,
    ) -> Generator[Any, None, None]:
        function = pickle.loads(pickle.dumps(task))()
        all_items = list(items)
        results: dict[int, Any] = {}
        for i in self._random.sample(range(len(all_items)), len(all_items)):
            if self._lose(all_items[i]):
                results[i] = WorkerFailure("lost on purpose")
                continue
            results[i] = function(pickle.loads(pickle.dumps(all_items[i])))
            self.done.append(all_items[i])
            finished(all_items[i])
        yield from (results[i] for i in range(len(all_items)))

    def share(self, array: Array) -> SharedArray:
        return LocalArray(array)

    def close(self) -> None: ...
