"""The engine of a cluster: a process of its own is connected to it, and does what this one asks.

Ray ends a process that has lost its cluster, without an exception that it could catch. So that process is not the one
of the command, which reports the end as an error.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ray import cloudpickle

from unveil.engine import messages
from unveil.engine.base import Array, EngineListener, SharedArray, Task, WorkerFailure
from unveil.errors import EngineError
from unveil.io.remote import retry_seconds

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger(__name__)

# The path of a socket has at most 107 bytes, of which Ray uses ninety.
MAX_TEMPORARY_PATH = 20
# Seconds that the process may take to stop a task, and to leave the cluster.
STOP_SECONDS, CLOSE_SECONDS = 10.0, 20.0
# Where arrays wait until they are shared: in memory, if the system has a folder for it.
MEMORY = Path("/dev/shm")  # noqa: S108 (mkdtemp makes the folder in it ours)
# The modules of this process, and none of the current folder.
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from unveil.engine.connected import main; main()"
ERRORS = "errors.log"


@dataclass(frozen=True, eq=False)
class _Handle:
    """A shared array; the connected process has it in Ray's object store."""

    name: str

    def fetch(self) -> Array:
        """Not in this process: workers receive the array itself."""
        raise RuntimeError("a shared array is fetched by workers")

    def __reduce__(self) -> tuple[Callable[[str], SharedArray], tuple[str]]:
        return messages.shared_array, (self.name,)


class ClusterEngine:
    """A Ray cluster: the one at an address, or one on this machine that ends with this engine.

    Raises EngineError when the address does not answer, when a machine has another version of unveil, for a cluster of
    our own when Ray has no token authentication, and from then on whenever the cluster is lost.
    """

    def __init__(self, address: str | None, listener: EngineListener, retry_for: float | None = None) -> None:
        self._address, self._listener = address or os.environ.get("RAY_ADDRESS"), listener
        usual = tempfile.gettempdir()
        short = usual if len(usual) < MAX_TEMPORARY_PATH else "/tmp"  # noqa: S108 (mkdtemp makes it ours)
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir=short))
        self._arrays = Path(tempfile.mkdtemp(prefix="unveil-", dir=MEMORY if MEMORY.is_dir() else self._folder))
        self._released: list[str] = []
        self._ours, theirs = Pipe()
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), json.dumps(sys.path)]
        with (self._folder / ERRORS).open("wb") as errors:
            # Ctrl-C reaches this process alone, which then closes the engine.
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter)
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        theirs.close()
        try:
            wait = retry_seconds() if retry_for is None else retry_for
            program = sys.argv[0] if sys.argv else ""
            self._send(messages.Connect(self._address, wait, str(self._folder), str(self._arrays), program))
            ready = self._receive()
            if isinstance(ready, messages.Failed):
                raise ready.error
        except BaseException:
            self.close()
            raise
        self.description: str = ready.description

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
        remaining, pending, ended = enumerate(items), dict[int, T](), False
        self._send(messages.Map(name, task, attempts, gpus))
        try:
            while True:
                message = self._receive()
                if isinstance(message, messages.Next):
                    self._send_next(remaining, pending)
                elif isinstance(message, messages.Finished):
                    finished(pending.pop(message.place))
                elif isinstance(message, messages.Result):
                    yield message.value
                else:
                    ended = True
                    if isinstance(message, messages.Failed):
                        raise message.error
                    return
        finally:
            # After an error here, or when the caller stops early, nobody needs what still runs.
            if not ended:
                self._stop()

    def _send_next(self, remaining: Iterable[tuple[int, T]], pending: dict[int, T]) -> None:
        for place, item in itertools.islice(remaining, 1):
            pending[place] = item
            self._send(messages.Item(place, item))
            return
        self._send(messages.End())

    def share(self, array: Array) -> SharedArray:
        """Puts an array into Ray's object store."""
        handle = _Handle(uuid.uuid4().hex)
        file = self._arrays / f"{handle.name}.npy"
        np.save(file, array, allow_pickle=False)
        self._send(messages.Share(handle.name, str(file)))
        weakref.finalize(handle, self._released.append, handle.name)
        return handle

    def close(self) -> None:
        """Releases the workers, and ends the cluster if it was started here."""
        with contextlib.suppress(EngineError):
            self._send(messages.Close())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        self._end()

    def _end(self) -> None:
        """Ends the process, and removes the files that were for it."""
        self._ours.close()
        self._process.kill()
        self._process.wait()
        for folder in (self._arrays, self._folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _stop(self) -> None:
        """Ends the task in progress; the process too, if it does not stop."""
        if self._ours.closed:
            return
        with contextlib.suppress(EngineError):
            self._send(messages.Stop())
            deadline = time.monotonic() + STOP_SECONDS
            while self._ours.poll(max(0.0, deadline - time.monotonic())):
                if isinstance(self._receive(), (messages.Done, messages.Failed)):
                    return
            self._end()

    def _send(self, message: object) -> None:
        try:
            while self._released:
                self._ours.send_bytes(_pickled(messages.Release(self._released.pop())))
            self._ours.send_bytes(_pickled(message))
        except OSError:
            raise self._lost() from None

    def _receive(self) -> Any:
        """The next message that is an answer; what the process reports meanwhile is passed on."""
        while True:
            try:
                message = messages.receive(self._ours)
            except (OSError, EOFError):
                raise self._lost() from None
            if isinstance(message, messages.Logged):
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
            elif isinstance(message, messages.Workers):
                self._listener.workers(message.n, message.retries)
            else:
                return message

    def _lost(self) -> EngineError:
        """The error for a process that has ended, because Ray ended it or the head of the cluster is silent."""
        with contextlib.suppress(OSError):
            logger.debug("%s", (self._folder / ERRORS).read_text("utf-8", "replace"))
        self._end()
        stored = "Finished work is stored"
        if self._address is None:
            return EngineError(
                f"the Ray cluster of this machine ended; was its memory exhausted? {stored}: run the same command again"
            )
        return EngineError(
            f"the Ray cluster at {self._address} was lost: its head does not answer, or Ray ended on this machine. "
            f"{stored}: start the cluster again and run the same command, or go on with --engine local"
        )


def _pickled(message: object) -> bytes:
    """A message with its functions and classes, where the other process could not import them."""
    data: bytes = cloudpickle.dumps(message)  # type: ignore[no-untyped-call]
    return data
