"""kill -9 at chosen and at random moments: the next run ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from unveil.demo.world import World

# Runs an audit that kills itself at the n-th tick of a stage; small shards, panels, slabs and checkpoint intervals
# make every kind of moment reachable.
PROGRAM = """
import logging, os, signal, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("unveil").setLevel(logging.INFO)
from unveil.auditor import WorkSizes, run_audit
from unveil.compare import BackendSizes
from unveil.config.parsing import settings_from
from unveil.embedding.pipeline import PipelineSizes
sizes = WorkSizes(PipelineSizes(images_per_shard=40), BackendSizes(24, 64, 1 << 16), checkpoint_seconds=0)
synthetic, training, control, out, stage, tick = sys.argv[1:]

class Kill:
    ticks = 0
    stage = ""
    def start(self, what, total, unit):
        self.stage = what
    def advance(self, n):
        if self.stage == stage:
            self.ticks += 1
            if self.ticks == int(tick):
                os.kill(os.getpid(), signal.SIGKILL)
    def workers(self, n, retries):
        pass
    def expect(self, units):
        pass

values = {"synthetic": synthetic, "training": training, "control": control, "out": out, "planted_leaks": "quick"}
run_audit(settings_from(values), Kill(), sizes=sizes)
"""


def run(world: World, out: Path, stage: str = "none", tick: int = 0) -> subprocess.CompletedProcess[str]:
    paths = [world.synthetic, world.training, world.control, out]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths), stage, str(tick)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def uninterrupted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run(world, out)
    assert done.returncode == 0, done.stderr
    return out


def same(a: Path, b: Path) -> None:
    names = [
        "audit.json",
        "people.parquet",
        "matches.parquet",
        *(f"stores/{r}.npy" for r in ("synthetic", "training", "training.appearance.whitened")),
    ]
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_an_image_that_ends_the_process_is_named_by_the_next_run(world: World, tmp_path: Path) -> None:
    """As a decoder's crash would: no except catches it."""
    deadly = PROGRAM.replace(
        "class Kill:",
        """
import hashlib
harmless = unveil.embedding.pipeline.decode_scaled
def decode(data, keeps):
    if hashlib.sha256(data).hexdigest() == os.environ.get("POISON"):
        os.kill(os.getpid(), signal.SIGKILL)
    return harmless(data, keeps)
unveil.embedding.pipeline.decode_scaled = decode

class Kill:""",
    )
    image = sorted(file for file in world.synthetic.rglob("*") if file.is_file())[50]
    places = [str(p) for p in (world.synthetic, world.training, world.control, tmp_path / "run")]
    command = [sys.executable, "-c", deadly, *places, "none", "0"]
    poison = {**os.environ, "POISON": hashlib.sha256(image.read_bytes()).hexdigest()}
    for turn in range(2):
        killed = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=poison)
        assert killed.returncode == -signal.SIGKILL
        assert ("the last run ended while it decoded" in killed.stdout) == (turn == 1)
    assert f"`{image.relative_to(world.synthetic)}`" in killed.stdout and "--engine ray" in killed.stdout


@pytest.mark.parametrize(
    ("stage", "tick"),
    [
        ("embedding synthetic", 1),
        ("embedding training", 5),
        ("embedding control", 9),
        ("comparing synthetic with training", 3),
        ("comparing synthetic with training by face, hub-corrected", 2),
        ("comparing synthetic with training by appearance, hub-corrected", 3),
        ("comparing synthetic with control by appearance, hub-corrected", 5),
        ("classifying the closest pairs", 30),
        ("embedding planted", 3),
    ],
)
def test_killed_at_a_chosen_moment(world: World, uninterrupted: Path, tmp_path: Path, stage: str, tick: int) -> None:
    killed = run(world, tmp_path / "run", stage, tick)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "run/audit.json").exists()
    resumed = run(world, tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    if (stage, tick) != ("embedding synthetic", 1):
        assert "shards were in" in resumed.stdout, "finished shards should not be made again"
    same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(world: World, uninterrupted: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    paths = [world.synthetic, world.training, world.control, tmp_path / "run"]
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, paths), "none", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(float(rng.uniform(1.0, 5.0)))
        process.kill()
        process.wait()
    resumed = run(world, tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    same(tmp_path / "run", uninterrupted)
