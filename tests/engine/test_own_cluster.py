"""A cluster that we start: nobody else can reach it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ray

from unveil.engine.own_cluster import MODE, TOKEN, OwnCluster
from unveil.errors import EngineError

# In a process of its own, since Ray keeps its settings for the time of a process.
PROGRAM = """
import os, subprocess, sys
import ray
import psutil  # comes with ray
from unveil.engine import open_engine
from unveil.progress import Silent

class Task:
    def __call__(self):
        return lambda item: item + 1

class Address:
    def __call__(self):
        return lambda item: ray.get_runtime_context().gcs_address

def listening(process):
    try:
        return [c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"]
    except psutil.NoSuchProcess:  # a worker that has ended since it was listed
        return []

for time in range(2):
    with open_engine("ray", Silent()) as engine:
        print("RESULTS", list(engine.map("numbers", Task(), range(3))))
        me = psutil.Process()
        found = [ip for process in (me, *me.children(recursive=True)) for ip in listening(process)]
        print("LISTENING", *sorted({ip.removeprefix("::ffff:") for ip in found}))
        if time == 1:
            continue
        (address,) = engine.map("address", Address(), [0])
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
        # The settings of our own cluster, but for the token.
        environment |= {"HOME": sys.argv[1], "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('CONNECTED')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        print("STRANGER", done.returncode, "CONNECTED" in done.stdout)
print("AFTER", os.environ.get("RAY_AUTH_TOKEN"))
"""


@pytest.mark.timeout(300)
def test_our_own_cluster_is_reached_by_nobody_else(tmp_path: os.PathLike[str]) -> None:
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=True)
    assert done.stdout.count("RESULTS [1, 2, 3]") == 2, done.stdout + done.stderr
    assert done.stdout.count("LISTENING 127.0.0.1\n") == 2, done.stdout
    assert done.stdout.count("STRANGER 1 False") == 1 and "AFTER None" in done.stdout, done.stdout
    assert not list(os.scandir(tmp_path)), "no token may be stored in the home of the user"


def test_settings_of_ray_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODE, "disabled")
    monkeypatch.delenv(TOKEN, raising=False)
    with OwnCluster():
        assert os.environ[MODE] == "token" and len(os.environ[TOKEN]) == 64
    assert os.environ[MODE] == "disabled" and TOKEN not in os.environ


def test_a_version_without_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ray._raylet, "AuthenticationTokenLoader")
    with pytest.raises(EngineError, match="expected a version of Ray with token authentication"), OwnCluster():
        raise AssertionError("the cluster was started")
