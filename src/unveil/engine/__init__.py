"""Where work runs: on the threads of this process, or on the machines of a cluster. Knows nothing of faces."""

from unveil.engine.base import Engine, EngineListener, SharedArray, Task, WorkerFailure
from unveil.engine.opening import LOCAL, check_engine, open_engine
from unveil.engine.threads import map_ordered

__all__ = [
    "LOCAL",
    "Engine",
    "EngineListener",
    "SharedArray",
    "Task",
    "WorkerFailure",
    "check_engine",
    "map_ordered",
    "open_engine",
]
