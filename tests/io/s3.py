"""An S3-compatible server on loopback, and a connection to it that can be cut."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time

SECRET, KEY = "a-very-secret-value-0123456789", "KEYIDOFNOBODY000"


class Server:
    """moto's S3 server in a process of its own, which keeps everything in memory."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


class Gate:
    """A proxy to a server that can be shut and opened again."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        for one in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listening.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._forward, args=(a, b), daemon=True).start()

    @staticmethod
    def _forward(a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 16):
                b.sendall(data)
