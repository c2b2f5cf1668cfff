"""Opens an engine by its name: ``local``, ``ray`` or ``ray:ADDRESS``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from unveil.engine.base import Engine, EngineListener
from unveil.errors import EngineError, SettingError

LOCAL = "local"
# Opens an engine when it is first called, and returns the same one from then on. None stands for this process alone.
EngineOpener = Callable[[], Engine | None]
_NAME = re.compile(r"local|ray(:(?P<address>(ray://)?[\w.\-\[\]:]+))?")


def check_engine(name: str) -> str:
    """The same name. Raises SettingError unless it names an engine."""
    if not _NAME.fullmatch(name):
        raise SettingError(
            "engine should be local, ray (a cluster on this machine) or ray:ADDRESS (for example ray:10.0.0.1:6379, or "
            f"ray:auto for a cluster that already runs here), got {name!r}"
        )
    return name


@contextlib.contextmanager
def open_engine(name: str, listener: EngineListener, retry_for: float | None = None) -> Iterator[Engine | None]:
    """The engine of that name for the time of a block; None stands for this process alone.

    ``retry_for`` is how many seconds to wait for a worker; by default `unveil.io.remote.retry_seconds`. Raises
    SettingError for an unknown name, and EngineError when the cluster is missing or does not fit.
    """
    match = _NAME.fullmatch(check_engine(name))
    if name == LOCAL or match is None:
        yield None
        return
    try:
        from unveil.engine.process import ClusterEngine
    except ImportError:
        raise EngineError("--engine ray needs Ray, which is not installed: pip install 'unveil[cluster]'") from None
    engine = ClusterEngine(match["address"], listener, retry_for)
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def shared_engine(name: str, listener: EngineListener) -> Iterator[EngineOpener]:
    """The engine of that name for several audits in a block: it is opened when the first of them asks for it.

    Work that turns out to be finished starts no cluster. Raises SettingError for an unknown name; the function raises
    EngineError as `open_engine` does.
    """
    check_engine(name)
    with contextlib.ExitStack() as stack:
        opened: list[Engine | None] = []

        def open_once() -> Engine | None:
            if not opened:
                opened.append(stack.enter_context(open_engine(name, listener)))
            return opened[0]

        yield open_once
