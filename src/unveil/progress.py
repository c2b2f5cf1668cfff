"""Progress of long work as counts; messages go to ``logging.getLogger("unveil")``."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives the progress of long work."""

    def expect(self, units: Mapping[str, int]) -> None:
        """Receives about how many units of each kind the whole run has, once that is known."""
        ...

    def start(self, stage: str, total: int, unit: str) -> None:
        """A stage of ``total`` units begins; it ends when the next begins. One that counts nothing has no ``unit``."""
        ...

    def advance(self, n: int) -> None:
        """``n`` more units are done; called from worker threads as well."""
        ...

    def workers(self, n: int, retries: int) -> None:
        """A cluster has ``n`` workers now and has retried ``retries`` tasks so far."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def expect(self, units: Mapping[str, int]) -> None: ...

    def start(self, stage: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def workers(self, n: int, retries: int) -> None: ...


class WholeRun:
    """Progress over all stages of a run; the time left follows from the rate of each unit.

    ``clock`` returns seconds.
    """

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
        """A stage counted in ``unit`` begins."""
        with self._lock:
            now = self._clock()
            self._seconds[self._unit] += now - self._since
            self._unit, self._since = unit, now

    def advance(self, n: int) -> None:
        """``n`` units of the stage are done."""
        with self._lock:
            self._done[self._unit] += n

    def rate(self, unit: str) -> float | None:
        """Units per second so far; None before the first."""
        with self._lock:
            seconds = self._seconds[unit] + (self._clock() - self._since if unit == self._unit else 0.0)
            return self._done[unit] / seconds if self._done[unit] and seconds else None

    def seconds_left(self) -> float | None:
        """Seconds until the run is done; None while a remaining unit has no rate yet."""
        total = 0.0
        for unit, expected in self._expected.items():
            remaining = expected - self._done[unit]
            rate = self.rate(unit)
            if remaining > 0 and rate is None:
                return None
            total += max(0, remaining) / rate if rate else 0.0
        return total if self._expected else None

    def summary(self) -> str:
        """The time left of the run, or the units that have not begun; empty when nothing is expected."""
        left = self.seconds_left()
        if left is not None:
            return f"{duration(left)} left in total" if left >= 1 else ""
        waiting = [unit for unit, n in self._expected.items() if n and self.rate(unit) is None]
        return f"{' and '.join(waiting)} to come" if waiting else ""


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
