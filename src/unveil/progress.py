"""How long work tells of itself; the library is silent unless given something that listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listens to long work."""

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

    def start(self, what: str, total: int, unit: str) -> None: ...

    def advance(self, n: int) -> None: ...

    def say(self, text: str) -> None: ...

    def workers(self, n: int, retries: int) -> None: ...
