"""The process that is connected to a Ray cluster; `unveil.engine.process` starts it and tells it what to do."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from unveil.engine import messages
from unveil.engine.cluster import RayEngine

# Seconds for which the head of a cluster may be silent, at most, and between two checks.
HEAD_SECONDS, CHECK_SECONDS = 30.0, 1.0


class _Stopped(Exception):  # noqa: N818 (a request, not an error)
    """Nobody needs further results."""


class _Gone(Exception):  # noqa: N818 (the usual end)
    """The process of the command asks for nothing more, or has ended."""


class _Forwarding(logging.Handler):
    """Sends messages of the log to the process of the command."""

    def __init__(self, server: _Server) -> None:
        super().__init__(logging.INFO)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.send(messages.Logged(record.name, record.levelno, record.getMessage()))


class _Server:
    """Does what the process of the command asks, until that process asks to close or has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._workers = connection, (0, 0)
        self._engine: RayEngine | None = None

    def run(self) -> None:
        connect: messages.Connect = self._receive()
        try:
            self._serve(connect)
        finally:
            # A command that was killed leaves them.
            for folder in (connect.arrays, connect.folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _serve(self, connect: messages.Connect) -> None:
        sys.argv = [connect.program]
        log = logging.getLogger("unveil")
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(_Forwarding(self))
        try:
            self._engine = RayEngine(connect.address, self, connect.retry_for, Path(connect.folder))
        except Exception as error:
            self.send(_failed(error))
            return
        threading.Thread(target=watch_head, args=(self._engine.head, connect.retry_for), daemon=True).start()
        with contextlib.closing(self._engine):
            self.send(messages.Ready(self._engine.description))
            while not isinstance(message := self._receive(), messages.Close):
                if isinstance(message, messages.Map):
                    self._map(self._engine, message)
                else:
                    self._share_or_release(message)

    def workers(self, n: int, retries: int) -> None:
        """Reports the workers, and hears in between whether something is asked. The engine calls it every second."""
        if (n, retries) != self._workers:
            self._workers = n, retries
            self.send(messages.Workers(n, retries))
        while self._connection.poll():
            self._heard()

    def send(self, message: object) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message))
        except OSError:
            raise _Gone from None

    def _receive(self) -> Any:
        try:
            return messages.receive(self._connection)
        except (OSError, EOFError):
            raise _Gone from None

    def _map(self, engine: RayEngine, asked: messages.Map) -> None:
        def finished(item: messages.Item) -> None:
            self.send(messages.Finished(item.place))

        task = messages.Unwrapped(asked.task)
        results = engine.map(
            asked.name, task, self._items(), attempts=asked.attempts, gpus=asked.gpus, finished=finished
        )
        try:
            for result in results:
                self.send(messages.Result(result))
        except _Gone:
            raise
        except _Stopped:
            pass
        except Exception as error:
            self.send(_failed(error))
            return
        self.send(messages.Done())

    def _items(self) -> Iterator[messages.Item]:
        while True:
            self.send(messages.Next())
            while (message := self._heard()) is None:
                pass
            if isinstance(message, messages.End):
                return
            yield message

    def _heard(self) -> Any:
        """The next message if it is an item or the end of the items; others are obeyed."""
        message = self._receive()
        if isinstance(message, messages.Stop):
            raise _Stopped
        if isinstance(message, messages.Close):
            raise _Gone
        if isinstance(message, (messages.Item, messages.End)):
            return message
        self._share_or_release(message)
        return None

    def _share_or_release(self, message: object) -> None:
        """Arrays are shared and released at any time. A task that should stop may have ended before."""
        if isinstance(message, messages.Share) and self._engine is not None:
            file = Path(message.file)
            messages.ARRAYS[message.name] = self._engine.share(np.load(file, allow_pickle=False))
            file.unlink()
        elif isinstance(message, messages.Release):
            messages.ARRAYS.pop(message.name, None)


def _failed(error: Exception) -> messages.Failed:
    """The error, or its text if it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (from this line)
    except Exception:
        return messages.Failed(RuntimeError(f"{type(error).__name__}: {error}"))
    return messages.Failed(error)


def watch_head(address: str, retry_for: float) -> None:
    """Ends this process when nobody has answered at the address of the head for HEAD_SECONDS, or ``retry_for``.

    Calls to Ray could wait for the head for minutes.
    """
    host, _, port = address.rpartition(":")
    answered = time.monotonic()
    while time.monotonic() - answered < max(CHECK_SECONDS, min(HEAD_SECONDS, retry_for)):
        time.sleep(CHECK_SECONDS)
        with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            answered = time.monotonic()
    os._exit(1)


def main() -> None:
    """Runs the process."""
    with contextlib.suppress(_Gone):
        _Server(Connection(int(sys.argv[1]))).run()
