"""How long work tells of itself; the library is silent unless given something that listens."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol


class Progress(Protocol):
    """Listens to long work."""

    def expect(self, units: Mapping[str, int]) -> None:
        """How many units of each kind the whole run has, about; told once it is known."""
        ...

    def start(self, what: str, total: int, unit: str) -> None:
        """A stage of ``total`` units begins; it ends when the next begins."""
        ...

    def advance(self, n: int) -> None:
        """``n`` more units are done; called from worker threads as well."""
        ...

    def say(self, text: str) -> None:
        """A decision or a finding worth a line."""
        ...

    def workers(self, n: int, retries: int) -> None:
        """On a cluster: how many workers there are now, and how many tasks were given out once more so far."""
        ...


class Silent:
    """Listens and says nothing."""

    def expect(self, units: Mapping[str, int]) -> None: ...

    def start(self, what: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def say(self, text: str) -> None: ...

    def workers(self, n: int, retries: int) -> None: ...


class WholeRun:
    """How far a run is over all its stages, and how long it will take: what is left of each unit at its own rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._expected: dict[str, int] = {}
        self._done: defaultdict[str, int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._unit, self._since = "", clock()

    def expect(self, units: Mapping[str, int]) -> None:
        """As `Progress.expect`."""
        self._expected = dict(units)

    def start(self, unit: str) -> None:
        """A stage of some unit begins."""
        with self._lock:
            now = self._clock()
            self._seconds[self._unit] += now - self._since
            self._unit, self._since = unit, now

    def advance(self, n: int) -> None:
        """``n`` units of the stage are done."""
        with self._lock:
            self._done[self._unit] += n

    def rate(self, unit: str) -> float | None:
        """Units a second so far; None before the first."""
        with self._lock:
            seconds = self._seconds[unit] + (self._clock() - self._since if unit == self._unit else 0.0)
            return self._done[unit] / seconds if self._done[unit] and seconds else None

    def left(self) -> float | None:
        """Seconds until all that is expected is done; None while a unit that is left has no rate yet."""
        total = 0.0
        for unit, expected in self._expected.items():
            left = expected - self._done[unit]
            rate = self.rate(unit)
            if left > 0 and rate is None:
                return None
            total += max(0, left) / rate if rate else 0.0
        return total if self._expected else None

    def told(self) -> str:
        """How long it will take, or what was not begun yet; empty when nothing is expected."""
        left = self.left()
        if left is not None:
            return f"{duration(left)} left of all" if left >= 1 else ""
        waiting = [unit for unit, n in self._expected.items() if n and self.rate(unit) is None]
        return f"{' and '.join(waiting)} to come" if waiting else ""


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
