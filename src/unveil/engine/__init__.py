"""Where work runs: the threads of this process, or the machines of a cluster. This package knows nothing of faces."""

from unveil.engine.base import AnyTask, Array, Engine, EngineListener, SharedArray, Task, WorkerFailure
from unveil.engine.opening import LOCAL, EngineOpener, check_engine, open_engine, shared_engine
from unveil.engine.threads import map_ordered

__all__ = [
    "LOCAL",
    "AnyTask",
    "Array",
    "Engine",
    "EngineListener",
    "EngineOpener",
    "SharedArray",
    "Task",
    "WorkerFailure",
    "check_engine",
    "map_ordered",
    "open_engine",
    "shared_engine",
]
