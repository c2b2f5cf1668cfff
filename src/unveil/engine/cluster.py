"""Tasks on the machines of a Ray cluster.

Workers are actors that stay from one task to the next, so that each loads a model once. Ray's own retries are off:
this module retries, so that the number of attempts is limited and logged, and the same for a lost worker and a lost
machine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

# Ray reads these when it is imported: it must send no usage statistics and start workers with this interpreter.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from unveil import __version__
from unveil.engine.base import Array, EngineListener, SharedArray, Task, WorkerFailure
from unveil.engine.own_cluster import OwnCluster
from unveil.engine.worker import Outcome, Worker
from unveil.errors import EngineError
from unveil.io.host import cores

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger(__name__)

# Seconds between two queries of the cluster's size, and seconds that one wait for results takes.
SIZE_SECONDS, WAIT_SECONDS = 5.0, 1.0
# Environment variables that workers receive; none of them is a credential.
FORWARDED = ("UNVEIL_RETRY_SECONDS", "UNVEIL_CACHE_GB", "UNVEIL_MODELS", "ORT_DISABLE_TELEMETRY")
# The beginning of the address of a server of Ray's client.
CLIENT = "ray://"
# Consecutive workers that may end before they have started.
MAX_FAILED_STARTS = 10


@dataclass(frozen=True)
class _RayArray:
    """An array in Ray's object store."""

    reference: Any

    def fetch(self) -> Array:
        array: Array = ray.get(self.reference)
        return array


@dataclass
class _WorkerHandle:
    """The driver's handle of a worker."""

    actor: Any
    host: str = ""  # empty until the worker has answered


@dataclass
class _PendingItem:
    """An item without a result."""

    place: int
    item: Any
    tries: int = 0


@dataclass
class _Pool:
    """Workers that need the same resources."""

    gpus: float
    starting: dict[Any, _WorkerHandle] = field(default_factory=dict)  # by the reference of their first answer
    free: list[_WorkerHandle] = field(default_factory=list)
    failed: int = 0  # consecutive failed starts

    @property
    def size(self) -> int:
        return len(self.starting) + len(self.free)


@dataclass
class _Run:
    """The items of one call of `RayEngine.map`: waiting, in progress and done."""

    name: str
    number: int
    task: Any
    items: Iterator[Any]
    attempts: int
    busy: dict[Any, tuple[_WorkerHandle, _PendingItem]] = field(default_factory=dict)
    retried: deque[_PendingItem] = field(default_factory=deque)
    ahead: deque[_PendingItem] = field(default_factory=deque)
    results: dict[int, Any] = field(default_factory=dict)
    taken: int = 0
    next: int = 0

    def read_ahead(self, n: int) -> None:
        """Takes items until ``n`` are waiting, if there are so many."""
        for item in itertools.islice(self.items, max(0, n - len(self.ahead))):
            self.ahead.append(_PendingItem(self.taken, item))
            self.taken += 1

    @property
    def waiting(self) -> int:
        """The number of items that were taken and are not in progress."""
        return len(self.retried) + len(self.ahead)

    @property
    def unfinished(self) -> bool:
        self.read_ahead(1)
        return bool(self.busy or self.results or self.retried or self.ahead)

    def next_item(self) -> _PendingItem | None:
        """The next item to start, retried ones first."""
        self.read_ahead(1)
        if self.retried:
            return self.retried.popleft()
        return self.ahead.popleft() if self.ahead else None


class RayEngine:
    """A Ray cluster: the one at an address, or one on this machine that ends with this process.

    ``folder`` is for the files of the latter, ``head`` the address of the machine that leads the cluster. A task waits
    ``retry_for`` seconds for a worker. Raises EngineError when the address does not answer, when a machine has another
    version of unveil, and for a cluster of our own when Ray has no token authentication.
    """

    def __init__(self, address: str | None, listener: EngineListener, retry_for: float, folder: Path) -> None:
        self._listener, self._numbers, self._retries = listener, itertools.count(), 0
        self._retry_for, self._pool = retry_for, _Pool(0)
        self._protection = contextlib.ExitStack()
        self._connect(address, folder)
        # Ray prints on standard output that a worker ended; this module logs it instead.
        with contextlib.suppress(AttributeError):
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
        self._actor_class: Any = ray.remote(Worker)
        logger.info(self.description)

    def _connect(self, address: str | None, folder: Path) -> None:
        settings: dict[str, Any] = {
            "runtime_env": {"env_vars": {name: os.environ[name] for name in FORWARDED if name in os.environ}},
            "namespace": "unveil",
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        if address is None:
            settings |= {"num_cpus": cores(), "include_dashboard": False, "_temp_dir": str(folder)}
            self._protection.enter_context(OwnCluster())
        try:
            _check_listening(address)
            ray.init(address=address or "local", **settings)
        except (OSError, OverflowError, RuntimeError, ValueError, RayError) as error:
            self.close()
            raise EngineError(
                f"no Ray cluster at {address or 'this machine'} ({_first_line(error)}); start one with "
                "`ray start --head`, or use --engine local"
            ) from None
        client = address is not None and address.startswith(CLIENT)
        self.head = str(address).removeprefix(CLIENT) if client else str(ray.get_runtime_context().gcs_address)

    @property
    def description(self) -> str:
        """The size of the cluster, for people."""
        machines = self._machines()
        n_cores = sum(int(m["Resources"].get("CPU", 0)) for m in machines)
        gpus = sum(int(m["Resources"].get("GPU", 0)) for m in machines)
        and_gpus = f", {gpus} GPUs" if gpus else ""
        plural = "" if len(machines) == 1 else "s"
        return f"Ray {ray.__version__}: {len(machines)} machine{plural}, {n_cores} cores{and_gpus}"

    @staticmethod
    def _machines() -> list[dict[str, Any]]:
        return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Releases the workers, and ends the cluster if it was started here."""
        self._pool = _Pool(0)
        ray.shutdown()
        self._protection.close()

    def share(self, array: Array) -> SharedArray:
        """Puts an array into Ray's object store."""
        return _RayArray(ray.put(array))

    def map(
        self,
        name: str,
        task: Task[T, R],
        items: Iterable[T],
        *,
        attempts: int = 3,
        gpus: float = 0,
        finished: Callable[[T], None] = lambda item: None,
    ) -> Generator[R | WorkerFailure, None, None]:
        """As `unveil.engine.Engine.map`."""
        if self._pool.gpus != gpus:
            self._pool = _Pool(gpus)
        self._recheck_free_workers()
        run = _Run(name, next(self._numbers), ray.put(task), iter(items), attempts)
        try:
            yield from self._results(run, finished)
        finally:
            # After an error, or when the caller stops early, nobody needs what still runs.
            for worker, _ in run.busy.values():
                ray.kill(worker.actor)

    def _results(self, run: _Run, finished: Callable[[Any], None]) -> Iterator[Any]:
        last_worker = time.monotonic()
        size_read, capacity = last_worker - SIZE_SECONDS, 0
        while run.unfinished:
            now = time.monotonic()
            if now - size_read >= SIZE_SECONDS:
                size_read, capacity = now, self._capacity()
                run.read_ahead(capacity)
            self._start_items(run)
            self._start_workers(run, capacity)
            if run.busy or self._pool.free:
                last_worker = time.monotonic()
            elif time.monotonic() - last_worker > self._retry_for:
                raise EngineError(
                    f"{run.name}: no worker for {self._retry_for:.0f} s ({self.description}); are all its cores taken? "
                    "Finished work is stored: run the same command again"
                )
            self._wait(run, finished)
            while run.next in run.results:
                yield run.results.pop(run.next)
                run.next += 1

    def _wait(self, run: _Run, finished: Callable[[Any], None]) -> None:
        """Waits a moment for results and for workers that start."""
        references = [*run.busy, *self._pool.starting]
        if not references:
            time.sleep(WAIT_SECONDS)
            return
        ready, _ = ray.wait(references, timeout=WAIT_SECONDS)
        for reference in ready:
            if reference in self._pool.starting:
                self._worker_started(reference)
            else:
                self._item_returned(run, reference, finished)

    def _capacity(self) -> int:
        """The number of workers that the cluster can run."""
        capacity = 0
        for machine in self._machines():
            resources = machine["Resources"]
            here = int(resources.get("CPU", 0))
            gpus = self._pool.gpus
            capacity += min(here, int(resources.get("GPU", 0) / gpus)) if gpus else here
        return max(1, capacity)

    def _start_items(self, run: _Run) -> None:
        """Gives an item to every free worker."""
        pool = self._pool
        while pool.free and (pending := run.next_item()) is not None:
            worker = pool.free.pop()
            run.busy[worker.actor.apply.remote(run.number, run.task, pending.item)] = worker, pending
        answered = sum(bool(worker.host) for worker in pool.starting.values())
        self._listener.workers(len(run.busy) + len(pool.free) + answered, self._retries)

    def _start_workers(self, run: _Run, capacity: int) -> None:
        """Starts as many workers as the cluster can run, but no more than items wait."""
        pool = self._pool
        while pool.size + len(run.busy) < capacity and len(pool.starting) < run.waiting:
            options = {"num_cpus": 1, "num_gpus": pool.gpus, "max_restarts": 0, "max_task_retries": 0}
            actor = self._actor_class.options(name=f"unveil {uuid.uuid4().hex[:8]}", **options).remote()
            pool.starting[actor.hello.remote()] = _WorkerHandle(actor)

    def _worker_started(self, reference: Any) -> None:
        worker = self._pool.starting.pop(reference)
        try:
            worker.host, version = ray.get(reference)
        except RayError as error:
            self._pool.failed += not worker.host
            if self._pool.failed > MAX_FAILED_STARTS:
                raise EngineError(
                    f"{self._pool.failed} workers in a row ended while starting: {_first_line(error)}. Check memory "
                    "and installation on the machines"
                ) from None
            return
        if version != __version__:
            raise EngineError(
                f"{worker.host} should have unveil {__version__} and has {version}; install the same version on every "
                "machine"
            )
        self._pool.failed = 0
        self._pool.free.append(worker)

    def _recheck_free_workers(self) -> None:
        """Makes every free worker answer before it receives an item.

        Where one worker ended, others may have ended with their machine. Without this check an item could lose all its
        attempts on dead workers.
        """
        for worker in self._pool.free:
            self._pool.starting[worker.actor.hello.remote()] = worker
        self._pool.free.clear()

    def _item_returned(self, run: _Run, reference: Any, finished: Callable[[Any], None]) -> None:
        worker, pending = run.busy.pop(reference)
        try:
            outcome: Outcome = ray.get(reference)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
                # An unexpected error of the task is shown as it is.
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            self._worker_ended(run, worker, pending, _first_line(error))
            return
        for message in outcome.messages:
            logging.getLogger(message.logger).log(message.level, "%s: %s", worker.host, message.text)
        self._pool.free.append(worker)
        if outcome.error is not None:
            raise outcome.error
        run.results[pending.place] = outcome.value
        finished(pending.item)

    def _worker_ended(self, run: _Run, worker: _WorkerHandle, pending: _PendingItem, reason: str) -> None:
        self._recheck_free_workers()
        pending.tries += 1
        if pending.tries >= run.attempts:
            logger.warning("%s: a worker on %s ended at the last of %d attempts", run.name, worker.host, run.attempts)
            run.results[pending.place] = WorkerFailure(f"{worker.host}: {reason}")
            return
        self._retries += 1
        attempt = pending.tries + 1
        logger.warning(
            "%s: a worker on %s ended; its item is retried, attempt %d of %d",
            *(run.name, worker.host, attempt, run.attempts),
        )
        run.retried.append(pending)


def _check_listening(address: str | None) -> None:
    """Raises OSError when nobody listens at an address; Ray itself would end this process without a useful message."""
    host, _, port = (address or "").removeprefix(CLIENT).rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
