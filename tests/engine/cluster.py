"""A real Ray cluster of several machines on this one, and what can happen to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# A machine that is gone is missed within seconds, so that tests need not wait for a minute.
os.environ |= {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    # Ray's workers have a niceness of 15: beside other tests they would hardly be given a core.
    "RAY_worker_niceness": "0",
}

from ray.cluster_utils import Cluster

# An audit in which everything is small, so that every kind of moment is reached; what workers run is the real thing.
PROGRAM = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("unveil").setLevel(logging.INFO)
from functools import partial
from unveil import auditor
from unveil.embedding.pipeline import PipelineSizes
from unveil.compare import distributed as tiles
auditor.AuditEmbedder = partial(auditor.AuditEmbedder, sizes=PipelineSizes(images_per_shard=24))
tiles.MIN_PAIRS, tiles.FEWEST_ROWS, tiles.BLOCK_ROWS, tiles.BLOCKS, tiles.FAN_IN = 0, 16, 48, 2, 3
import unveil
{before}
if __name__ == "__main__":
    class Told:
        def start(self, what, total, unit): print("STAGE", what, flush=True)
        def advance(self, n): pass
        def expect(self, units): pass
        def workers(self, n, retries): pass
    synthetic, training, control, out, store, engine = sys.argv[1:]
    unveil.audit(synthetic, training, control or None, out=out, store=store, engine=engine, planted_leaks="off",
                 progress=Told(), resamples=3)
"""
SAME = ("audit.json", "people.parquet", "matches.parquet", "pairs.parquet", "rejects.parquet", "report.html")


class Machines:
    """A head without cores and some machines that work."""

    def __init__(self, n: int = 2) -> None:
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(n)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def workers(self) -> list[int]:
        """Processes that have a task of ours."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._nodes}
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if not process.name.isdigit():
                    continue
                parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent in raylets and b"ray::Worker" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def kill_worker(self, which: int = 0) -> bool:
        """kill -9 of a worker; whether there was one."""
        pids = self.workers()
        if pids:
            os.kill(pids[which % len(pids)], signal.SIGKILL)
        return bool(pids)

    def kill_machine(self, which: int = 0) -> None:
        """A machine is gone, with all its processes and without a word; another comes."""
        node = self._nodes.pop(which % len(self._nodes))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def machines(n: int = 2) -> Iterator[Machines]:
    made = Machines(n)
    try:
        yield made
    finally:
        made.close()


class Driver:
    """An audit in a process of its own."""

    def __init__(
        self,
        sources: Sequence[Path | None],
        out: Path,
        store: Path | str,
        engine: str,
        before: str = "",
        on: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        arguments = [*("" if s is None else str(s) for s in sources), str(out), str(store), engine]
        self._log = (folder or Path()) / out.with_name(out.name + ".log")
        command = [*on, sys.executable, "-c", PROGRAM.replace("{before}", before), *arguments]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def told(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float = 300) -> int:
        """Its exit status; one that does not end in time is ended, and what it said is shown."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self.told) from None

    def until(self, text: str, seconds: float = 200) -> None:
        """Waits until the audit says something."""
        deadline = time.monotonic() + seconds
        while text not in self.told:
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self.told)
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def differences(a: Path, b: Path) -> list[str]:
    """Files of two runs that are not the same bytes."""
    vectors = [f"stores/{role}.npy" for role in ("synthetic", "training")]
    return [name for name in (*SAME, *vectors) if (a / name).read_bytes() != (b / name).read_bytes()]
