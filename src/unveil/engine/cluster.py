"""Tasks on the machines of a Ray cluster.

Workers are actors that are kept from one job to the next, so that networks are loaded once a worker. What Ray could
retry by itself is done here, so that it is bounded, told, and the same for a worker and for a machine that is gone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

# Read when Ray is imported: nothing is sent anywhere, and workers are not started through another tool.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from unveil import __version__
from unveil.engine.base import AnyTask, Array, EngineListener, SharedArray, Task, WorkerFailure
from unveil.errors import EngineError, UnveilError
from unveil.io.host import cores

T = TypeVar("T")
R = TypeVar("R")

# How long to wait for a first worker, or for one to come back.
RETRY_SECONDS = float(os.environ.get("UNVEIL_RETRY_SECONDS", "300"))
# How often the cluster is asked how large it is, and how long one wait for results is.
LOOK_SECONDS, WAIT_SECONDS = 5.0, 1.0
# What workers have to know of this process's environment; nothing that opens anything.
HANDED_ON = ("UNVEIL_RETRY_SECONDS", "UNVEIL_CACHE_GB", "UNVEIL_MODELS", "ORT_DISABLE_TELEMETRY")
# A pathname of a socket has at most 107 bytes, and Ray adds ninety.
LONGEST_TEMPORARY = 20
# Workers that may end before they have begun, one after the other.
MAX_FAILED_STARTS = 10


class _Worker:
    """Runs in a process of its own, on some machine; one job at a time is open."""

    def __init__(self) -> None:
        self._number = -1
        self._does: Callable[[Any], Any] = lambda task: task
        self._told: list[str] = []

    def hello(self) -> tuple[str, str]:
        return str(ray.util.get_node_ip_address()), __version__  # type: ignore[no-untyped-call]

    def do(self, number: int, job: AnyTask, task: Any) -> _Outcome:
        """The result of a task, or the error that was raised on purpose, and what was said."""
        value, error = None, None
        try:
            if number != self._number:
                self._does = lambda task: task  # what the last job opened may go
                self._does, self._number = job(self._told.append), number
            value = self._does(task)
        except UnveilError as raised:
            error = raised
        told, self._told[:] = list(self._told), []
        return _Outcome(value, error, told)


@dataclass(frozen=True)
class _Outcome:
    value: Any
    error: UnveilError | None
    told: list[str]


@dataclass(frozen=True)
class _RayShared:
    """An array in Ray's object store."""

    reference: Any

    def fetch(self) -> Array:
        array: Array = ray.get(self.reference)
        return array


@dataclass
class _WorkerHandle:
    """A worker as the driver sees it."""

    actor: Any
    host: str = ""  # not known before it has answered


@dataclass
class _PendingTask:
    """A task that is not done yet."""

    place: int
    task: Any
    tries: int = 0
    told: str = ""


@dataclass
class _Pool:
    """Workers that ask for the same resources."""

    gpus: float
    starting: dict[Any, _WorkerHandle] = field(default_factory=dict)  # by what tells that they have started
    free: list[_WorkerHandle] = field(default_factory=list)
    failed: int = 0  # starts that failed since the last that did not

    @property
    def known(self) -> int:
        return len(self.starting) + len(self.free)


class RayEngine:
    """A Ray cluster: the one at an address, or one of this machine's cores that ends with this process.

    Raises EngineError when the address does not answer, or when a machine has another version of unveil.
    """

    def __init__(self, address: str | None, watch: EngineListener) -> None:
        self._watch, self._jobs, self._retries = watch, itertools.count(), 0
        self._pool = _Pool(0)
        self._own: Path | None = None
        environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        settings: dict[str, Any] = {
            "runtime_env": {"env_vars": environment},
            "namespace": "unveil",
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        address = address or os.environ.get("RAY_ADDRESS")
        if address is None:
            folder = tempfile.gettempdir()
            short = folder if len(folder) < LONGEST_TEMPORARY else "/tmp"  # noqa: S108 (mkdtemp makes it ours)
            self._own = Path(tempfile.mkdtemp(prefix="ray", dir=short))
            settings |= {"num_cpus": cores(), "include_dashboard": False, "_temp_dir": str(self._own)}
        try:
            _answers(address)
            ray.init(address=address or "local", **settings)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            self.close()
            told = str(error).strip().splitlines()
            raise EngineError(
                f"no Ray cluster at {address or 'this machine'} ({told[0] if told else type(error).__name__}); start "
                "one with `ray start --head`, or use --engine local"
            ) from None
        # Ray prints on standard output that a worker ended; here it is told once, and on the right stream.
        with contextlib.suppress(AttributeError):
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
        self._make = ray.remote(_Worker)
        watch.say(self.told)

    @property
    def told(self) -> str:
        """How large the cluster is."""
        machines = self._machines()
        processors = sum(int(m["Resources"].get("CPU", 0)) for m in machines)
        gpus = sum(int(m["Resources"].get("GPU", 0)) for m in machines)
        and_gpus = f", {gpus} GPUs" if gpus else ""
        several = "" if len(machines) == 1 else "s"
        return f"Ray {ray.__version__}: {len(machines)} machine{several}, {processors} cores{and_gpus}"

    @staticmethod
    def _machines() -> list[dict[str, Any]]:
        return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Lets the workers go, and ends the cluster if it was started here."""
        self._pool = _Pool(0)
        ray.shutdown()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def share(self, array: Array) -> SharedArray:
        """Puts an array into Ray's object store."""
        return _RayShared(ray.put(array))

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
        """Results in the order of the tasks, as `unveil.engine.Engine.map` says."""
        if self._pool.gpus != gpus:
            self._pool = _Pool(gpus)
        self._doubt()
        work = _Work(name, next(self._jobs), ray.put(job), iter(tasks), attempts)
        try:
            yield from self._run(work, finished)
        finally:
            # Left early, by an error or by whoever asked: what still runs is for nobody.
            for hand, _ in work.busy.values():
                ray.kill(hand.actor)

    def _run(self, work: _Work, finished: Callable[[Any], None]) -> Iterator[Any]:
        looked = since = time.monotonic() - LOOK_SECONDS
        wanted = 0
        while work.left:
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                looked, wanted = now, self._room()
                work.look(wanted)
            self._give_out(work, wanted)
            waiting = [*work.busy, *self._pool.starting]
            if work.busy or self._pool.free:
                since = time.monotonic()
            elif time.monotonic() - since > RETRY_SECONDS:
                raise EngineError(
                    f"{work.name}: no worker for {RETRY_SECONDS:.0f} s ({self.told}); are all its cores taken? "
                    "What is finished is kept, run the same command again"
                )
            if not waiting:
                time.sleep(WAIT_SECONDS)
                continue
            done, _ = ray.wait(waiting, timeout=WAIT_SECONDS)
            for reference in done:
                if reference in self._pool.starting:
                    self._started(reference)
                else:
                    self._returned(work, reference, finished)
            while work.next in work.results:
                yield work.results.pop(work.next)
                work.next += 1

    def _room(self) -> int:
        """How many workers the cluster has room for."""
        machines = self._machines()
        room = 0
        for machine in machines:
            has = machine["Resources"]
            here = int(has.get("CPU", 0))
            room += min(here, int(has.get("GPU", 0) / self._pool.gpus)) if self._pool.gpus else here
        return max(1, room)

    def _give_out(self, work: _Work, wanted: int) -> None:
        """A task to every free worker, and as many workers as there is work and room for."""
        pool = self._pool
        while pool.free and (held := work.take()) is not None:
            hand = pool.free.pop()
            reference = hand.actor.do.remote(work.number, work.job, held.task)
            work.busy[reference] = hand, held
        answered = sum(bool(hand.host) for hand in pool.starting.values())
        self._watch.workers(len(work.busy) + len(pool.free) + answered, self._retries)
        # One worker for each task that waits is enough.
        while pool.known + len(work.busy) < wanted and len(pool.starting) < work.waiting:
            options = {"num_cpus": 1, "num_gpus": pool.gpus, "max_restarts": 0, "max_task_retries": 0}
            hand = _WorkerHandle(self._make.options(name=f"unveil {uuid.uuid4().hex[:8]}", **options).remote())
            pool.starting[hand.actor.hello.remote()] = hand

    def _started(self, reference: Any) -> None:
        hand = self._pool.starting.pop(reference)
        try:
            hand.host, theirs = ray.get(reference)
        except RayError as error:
            self._pool.failed += not hand.host
            if self._pool.failed > MAX_FAILED_STARTS:
                raise EngineError(f"workers end as they start: {_first_line(error)}") from None
            return
        if theirs != __version__:
            raise EngineError(f"{hand.host} has unveil {theirs}, here is {__version__}; install the same everywhere")
        self._pool.failed = 0
        self._pool.free.append(hand)

    def _doubt(self) -> None:
        """Who is free has to answer before it is given work again: where one worker ended others may have, with their
        machine, and a task should not be tried on one dead worker after the other."""
        for hand in self._pool.free:
            self._pool.starting[hand.actor.hello.remote()] = hand
        self._pool.free.clear()

    def _returned(self, work: _Work, reference: Any, finished: Callable[[Any], None]) -> None:
        hand, held = work.busy.pop(reference)
        try:
            outcome: _Outcome = ray.get(reference)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
                # An error that nobody foresaw is shown as it is.
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            self._doubt()
            held.tries += 1
            held.told = f"{hand.host}: {_first_line(error)}"
            if held.tries >= work.attempts:
                self._watch.say(f"{work.name}: a worker on {hand.host} ended, for the last time that is tried")
                work.results[held.place] = WorkerFailure(held.told)
                return
            self._retries += 1
            self._watch.say(
                f"{work.name}: a worker on {hand.host} ended; its task is given to another, try {held.tries + 1} of "
                f"{work.attempts}"
            )
            work.again.append(held)
            return
        for line in outcome.told:
            self._watch.say(f"{hand.host}: {line}")
        self._pool.free.append(hand)
        if outcome.error is not None:
            raise outcome.error
        work.results[held.place] = outcome.value
        finished(held.task)


@dataclass
class _Work:
    """One job's tasks: which are out, which come back, which are done."""

    name: str
    number: int
    job: Any
    tasks: Iterator[Any]
    attempts: int
    busy: dict[Any, tuple[_WorkerHandle, _PendingTask]] = field(default_factory=dict)
    again: deque[_PendingTask] = field(default_factory=deque)
    results: dict[int, Any] = field(default_factory=dict)
    ahead: deque[_PendingTask] = field(default_factory=deque)
    taken: int = 0
    next: int = 0

    def look(self, n: int) -> None:
        """Has ``n`` tasks in view that were not given out, if there are so many."""
        for task in itertools.islice(self.tasks, max(0, n - len(self.ahead))):
            self.ahead.append(_PendingTask(self.taken, task))
            self.taken += 1

    @property
    def waiting(self) -> int:
        """How many tasks are in view that nobody holds."""
        return len(self.again) + len(self.ahead)

    @property
    def left(self) -> bool:
        self.look(1)
        return bool(self.busy or self.results or self.again or self.ahead)

    def take(self) -> _PendingTask | None:
        """The next task to give out, those that came back first."""
        self.look(1)
        if self.again:
            return self.again.popleft()
        return self.ahead.popleft() if self.ahead else None


def _answers(address: str | None) -> None:
    """OSError when nobody listens at an address: Ray would end this process, with no word that helps."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
