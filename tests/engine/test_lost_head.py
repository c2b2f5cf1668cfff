"""A cluster whose head dies while a command waits for it: our own message, and an exit code that says so."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import drawn_faces, encoded, write
from tests.engine.cluster import Machines, machines
from unveil.engine import connected, open_engine
from unveil.errors import EngineError
from unveil.progress import Silent

# An item that takes longer than any of these tests.
FOREVER = 600
# A command that prints what it holds beside the cluster, and waits.
KILLED = """
import sys, time
from unveil.engine import open_engine
from unveil.progress import Silent
with open_engine(sys.argv[1], Silent()) as engine:
    print(engine._process.pid, engine._folder, engine._arrays, flush=True)
    time.sleep(600)
"""


@pytest.mark.timeout(200)
def test_a_command_whose_head_is_killed_ends_with_a_message(tmp_path: Path) -> None:
    for i, face in enumerate(drawn_faces(30)):
        write(tmp_path / f"images/{i:02d}.png", encoded(face))
    places = [f"--synthetic={tmp_path}/images", f"--training={tmp_path}/images", f"--out={tmp_path}/run"]
    command = [sys.executable, "-m", "unveil", "audit", *places, f"--store={tmp_path}/store"]
    with machines(1) as cluster:
        # Ray ends its process this long after the head: a minute by default.
        environment = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "2"}
        # A worker that is stopped never answers, so the command waits until the head is lost.
        started = subprocess.Popen(
            [*command, f"--engine=ray:{cluster.address}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        deadline = time.monotonic() + 100
        while not (workers := cluster.workers()) and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        cluster.kill_head("gcs_server")
        killed = time.monotonic()
        _, printed = started.communicate(timeout=100)
        waited = time.monotonic() - killed
    assert started.returncode == 4 and waited < 100, printed
    assert "was lost: its head does not answer" in printed and "run the same command" in printed
    assert not re.search("Traceback|gcs_rpc|rpc_client|GCS", printed), printed
    assert "unveil: the Ray cluster at" in printed.splitlines()[-1]


@pytest.mark.nightly
@pytest.mark.timeout(200)
def test_the_process_of_ray_on_this_machine_is_killed() -> None:
    with machines(1) as cluster, open_engine(f"ray:{cluster.address}", Silent()) as engine:
        assert engine is not None

        def task() -> Callable[[int], int]:
            def work(item: int) -> int:
                if item:
                    time.sleep(FOREVER)
                return item

            return work

        results: Iterator[Any] = engine.map("waiting", task, [0, 1])
        assert next(results) == 0
        cluster.kill_head("raylet")
        begun = time.monotonic()
        with pytest.raises(EngineError, match="was lost"):
            next(results)
        assert time.monotonic() - begun < 100
        # It stays lost.
        with pytest.raises(EngineError, match="was lost"):
            list(engine.map("again", task, [0]))


def test_a_killed_command_leaves_nothing(cluster: Machines) -> None:
    started = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, f"ray:{cluster.address}"], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    process, *folders = started.stdout.readline().split()
    assert Path(f"/proc/{process}").exists() and all(Path(folder).is_dir() for folder in folders)
    started.kill()
    started.communicate()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(Path(path).exists() for path in (f"/proc/{process}", *folders)):
        time.sleep(0.1)
    assert not any(Path(path).exists() for path in (f"/proc/{process}", *folders))


def test_a_head_that_nobody_hears_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a machine vanishes, which Ray would notice minutes later."""

    class EndError(Exception): ...

    def end(status: int) -> None:
        raise EndError

    monkeypatch.setattr(os, "_exit", end)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        watching = threading.Thread(target=connected.watch_head, args=(address, 2.0), daemon=True)
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        watching.start()
        watching.join(4)
        assert watching.is_alive()
    watching.join(20)
    assert not watching.is_alive()
