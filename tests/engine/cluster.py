"""A Ray cluster of several machines on this one, and the failures that tests cause."""

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
# The head notices a lost machine within seconds instead of a minute.
os.environ |= {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    # Ray's workers have a niceness of 15: beside other tests they would hardly get a core.
    "RAY_worker_niceness": "0",
}

from ray.cluster_utils import Cluster

# An audit in which every part is small, so that every kind of moment is reached.
PROGRAM = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("unveil").setLevel(logging.INFO)
from unveil.auditor import WorkSizes, run_audit
from unveil.compare import TileSizes
from unveil.config.parsing import settings_from
from unveil.embedding.pipeline import PipelineSizes
from unveil.progress import Silent
{before}
if __name__ == "__main__":
    class Stages(Silent):
        def start(self, stage, total, unit): print("STAGE", stage, flush=True)
    synthetic, training, control, out, store, engine = sys.argv[1:]
    values = {"synthetic": synthetic, "training": training, "control": control or None, "out": out, "store": store,
              "engine": engine, "planted_leaks": "off", "resamples": 3}
    sizes = WorkSizes(PipelineSizes(images_per_shard=24),
                      tiles=TileSizes(panel=16, block=48, blocks=2, fan_in=3, min_pairs=0))
    run_audit(settings_from(values), Stages(), sizes=sizes)
"""
SAME = ("audit.json", "people.parquet", "matches.parquet", "pairs.parquet", "rejects.parquet", "report.html")


class Machines:
    """A head without cores, and some machines with one core each."""

    def __init__(self, n: int = 2) -> None:
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(n)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def workers(self) -> list[int]:
        """The processes of workers."""
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
        """Kills a worker; returns whether there was one."""
        pids = self.workers()
        if pids:
            os.kill(pids[which % len(pids)], signal.SIGKILL)
        return bool(pids)

    def kill_machine(self, which: int = 0) -> None:
        """Ends all processes of a machine at once, and adds another machine."""
        node = self._nodes.pop(which % len(self._nodes))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def kill_head(self, process: str) -> None:
        """Kills a process of the head: ``gcs_server`` or ``raylet``."""
        head = self._cluster.head_node
        assert head is not None
        os.kill(head.all_processes[process][0].process.pid, signal.SIGKILL)

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
    def output(self) -> str:
        """Everything that the audit has printed."""
        return self._log.read_text()

    def wait(self, seconds: float = 300) -> int:
        """The exit status; raises AssertionError with the output if the audit takes too long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self.output) from None

    def until(self, text: str, seconds: float = 200) -> None:
        """Waits until the audit prints a text."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self.output)
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def differences(a: Path, b: Path) -> list[str]:
    """The files of two runs whose bytes differ."""
    vectors = [f"stores/{role}.npy" for role in ("synthetic", "training")]
    return [name for name in (*SAME, *vectors) if (a / name).read_bytes() != (b / name).read_bytes()]
