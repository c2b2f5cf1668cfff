"""The choice of an engine by its name: ``local``, ``ray`` or ``ray:ADDRESS``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from unveil.engine.base import Engine, EngineListener
from unveil.errors import EngineError, SettingError

LOCAL = "local"
_NAME = re.compile(r"local|ray(:(?P<address>(ray://)?[\w.\-\[\]:]+))?")


def check_engine(name: str) -> str:
    """The same name; SettingError for one that is none."""
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"engine should be local, ray (a cluster of this machine's cores) or ray:ADDRESS (for example "
            f"ray:10.0.0.1:6379, or ray:auto for the one that runs here), got {name!r}"
        )
    return name


@contextlib.contextmanager
def open_engine(name: str, watch: EngineListener) -> Iterator[Engine | None]:
    """The engine of that name for the time of a block; None is this process alone.

    Raises SettingError for an unknown name, and EngineError when the cluster is not there or not fit.
    """
    found = _NAME.fullmatch(check_engine(name))
    if name == LOCAL or found is None:
        yield None
        return
    try:
        from unveil.engine.cluster import RayEngine
    except ImportError:
        raise EngineError("--engine ray needs Ray: pip install 'unveil[cluster]'") from None
    engine = RayEngine(found["address"], watch)
    try:
        yield engine
    finally:
        engine.close()
