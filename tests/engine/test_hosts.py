"""A Ray cluster of several hosts with addresses of their own: network namespaces, joined by a bridge in another."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import drawn_faces, encoded, write
from tests.engine.cluster import Driver, differences

RAY = str(Path(sys.executable).parent / "ray")
NETWORK = "10.77.0"


class Hosts:
    """Hosts 10, 11, ... of a network of their own; the first is the head, without cores."""

    def __init__(self, n: int) -> None:
        self._name = f"unv{os.getpid() % 10_000}"
        self.names = [f"{self._name}h{i}" for i in range(n)]
        self._run("ip", "netns", "add", self._name)
        self._run("ip", "-n", self._name, "link", "add", "br0", "type", "bridge")
        self._run("ip", "-n", self._name, "link", "set", "br0", "up")
        for i, host in enumerate(self.names):
            self._run("ip", "netns", "add", host)
            port = ["ip", "-n", self._name, "link"]
            self._run(*port, "add", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", host)
            self._run(*port, "set", f"p{i}", "master", "br0", "up")
            self._run("ip", "-n", host, "address", "add", f"{self.address(i)}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                self._run("ip", "-n", host, "link", "set", link, "up")
        self.start(0, "--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false")
        for i in range(1, n):
            self.start(i, f"--address={self.address(0)}:6379", "--num-cpus=1")

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=200)

    def address(self, i: int) -> str:
        return f"{NETWORK}.{10 + i}"

    def start(self, i: int, *flags: str) -> None:
        self._run(*self.on(i), RAY, "start", f"--node-ip-address={self.address(i)}", "--disable-usage-stats", *flags)

    def on(self, i: int) -> list[str]:
        """The command that runs another command on a host."""
        return ["ip", "netns", "exec", self.names[i]]

    def unplug(self, i: int) -> None:
        """Cuts the network of a host, whose processes go on."""
        self._run("ip", "-n", self._name, "link", "set", f"p{i}", "down")

    def close(self) -> None:
        for host in self.names:
            pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=False).stdout
            subprocess.run(["kill", "-9", *pids.split()], check=False, capture_output=True)
        for name in (*self.names, self._name):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    # Without the token, another machine of the network cannot join.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    made = Hosts(3)
    yield made
    made.close()


@pytest.mark.nightly
def test_an_audit_over_hosts_of_which_one_is_unplugged(hosts: Hosts, tmp_path: Path) -> None:
    faces = drawn_faces(260, 6)
    for i in range(140):
        write(tmp_path / f"synthetic/{i:03d}.png", encoded(faces[i if i < 15 else 110 + i]))
    for i in range(80):
        write(tmp_path / f"training/t{i:03d}/1.png", encoded(faces[i], "JPEG", quality=90))
    sources = [tmp_path / "synthetic", tmp_path / "training", None]
    local = Driver(sources, tmp_path / "local", tmp_path / "store", "local")
    assert local.wait() == 0, local.output

    engine = f"ray:{hosts.address(0)}:6379"
    driver = Driver(sources, tmp_path / "run", tmp_path / "store2", engine, on=hosts.on(0))
    driver.until("STAGE embedding synthetic")
    # Both hosts have begun when the first shard exists.
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store2").rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    hosts.unplug(2)
    assert driver.wait() == 0, driver.output
    assert os.environ["RAY_AUTH_TOKEN"] not in driver.output
    assert "3 machines, 2 cores" in driver.output
    assert not differences(tmp_path / "local", tmp_path / "run")
