"""kill -9 at chosen and at random moments: the next run ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.builders import NIGHTLY_FACTOR, PROFILE
from tests.conftest import made_once
from tests.interruptible import IMAGES_PER_SHARD, TILE, run
from unveil.demo.world import make_world

# At which part of which stage the process ends. The first moments come before the images are embedded.
WHILE_EMBEDDING = (
    ("embedding synthetic", 0.6),
    ("embedding training", 0.6),
    ("embedding control", 0.3),
    ("embedding planted", 0.6),
)
AFTERWARDS = (
    ("comparing synthetic with training", 0.6),
    ("comparing synthetic with control", 0.8),
    ("comparing synthetic with training by appearance, hub-corrected", 0.5),
    ("comparing synthetic with control by appearance, hub-corrected", 0.7),
    ("classifying the closest pairs", 0.3),
)


class Uninterrupted(NamedTuple):
    """The sources and the store of an audit, its run, and the CPU seconds it took."""

    sources: list[str]
    store: Path
    out: Path
    cpu_seconds: float


@pytest.fixture(scope="session")
def uninterrupted(shared_folder: Path) -> Uninterrupted:
    folder = shared_folder / "resume"

    def make() -> Uninterrupted:
        world = make_world(folder / "world", 7, training=60, control=80, fresh=40, planted=4)
        sources = [str(world.synthetic), str(world.training), str(world.control)]
        start = time.process_time()
        run(sources, str(folder / "run"), str(folder / "store"), in_files=False)
        return Uninterrupted(sources, folder / "store", folder / "run", time.process_time() - start)

    return made_once(shared_folder, "resume", make)


def start(sources: list[str], out: Path | str, store: Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Runs the audit in a process of its own."""
    given = {"sources": sources, "out": str(out), "store": str(store), **arguments}
    return subprocess.run(
        [sys.executable, "-m", "tests.interruptible", json.dumps(given)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=Path(__file__).parents[1],
    )


def same(a: Path, b: Path) -> None:
    """Both runs have the same files with the same bytes, but for times in the manifest."""
    files = [sorted(str(f.relative_to(run)) for f in run.rglob("*") if f.is_file()) for run in (a, b)]
    assert files[0] == files[1] and len(files[0]) > 10
    for name in files[0]:
        assert name == "manifest.json" or (a / name).read_bytes() == (b / name).read_bytes(), name


def resumed(messages: str, stage: str, share: float) -> bool:
    """Whether a run began a stage with what the killed one had finished."""
    if stage == "classifying the closest pairs":
        return True  # It is done again as a whole.
    if stage.startswith("embedding"):
        found = re.search(rf"{stage.split()[1]}: (\d+) of (\d+) shards were found", messages)
        return found is not None and int(found[1]) >= max(1, int(share * int(found[2])) - 1)
    began = re.search(rf"{re.escape(stage)}: begins with (\d+) of (\d+)", messages)
    # The tile in progress is lost, no other; a comparison that begins again begins with one tile.
    return began is not None and int(began[1]) >= share * int(began[2]) - TILE > TILE


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(WHILE_EMBEDDING, id="while embedding", marks=pytest.mark.nightly),
        pytest.param(AFTERWARDS, id="afterwards", marks=pytest.mark.nightly),
    ],
)
def test_killed_at_chosen_moments(
    moments: tuple[tuple[str, float], ...],
    uninterrupted: Uninterrupted,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each run resumes what the one before it left, until the next moment."""
    sources, store, whole, _ = uninterrupted
    if moments is WHILE_EMBEDDING:
        store = tmp_path / "store"
    before = None
    for stage, share in moments:
        killed = start(sources, tmp_path / "run", store, kill_in=stage, share=share)
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stderr)
        assert not (tmp_path / "run/audit.json").exists()
        assert before is None or resumed(killed.stdout, *before), (before, killed.stdout)
        before = (stage, share)
    caplog.set_level(logging.INFO, "unveil")
    run(sources, str(tmp_path / "run"), str(store))
    assert before is not None and resumed(caplog.text, *before), caplog.text
    same(tmp_path / "run", whole)


@pytest.mark.nightly
def test_an_audit_at_an_address_resumes_on_another_machine(
    uninterrupted: Uninterrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checkpoints are at the address; the other machine has an empty cache and the same key."""
    sources, store, whole, _ = uninterrupted
    address, place, moment = f"file://{tmp_path}/runs/one", tmp_path / "runs/one", AFTERWARDS[0]
    monkeypatch.setenv("UNVEIL_CACHE", str(tmp_path / "first"))
    killed = start(sources, address, store, kill_in=moment[0], share=moment[1])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list((place / "work").glob("*.npz")) and not (place / "manifest.json").exists()
    monkeypatch.setenv("UNVEIL_CACHE", str(tmp_path / "second"))
    caplog.set_level(logging.INFO, "unveil")
    run(sources, address, str(store))
    assert resumed(caplog.text, *moment), caplog.text
    assert not (place / "work").exists()
    for name in ("audit.json", "people.parquet", "matches.parquet", "stores/synthetic.npy"):
        assert (place / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1 if PROFILE == "ci" else NIGHTLY_FACTOR))
def test_killed_at_random_moments(uninterrupted: Uninterrupted, tmp_path: Path, seed: int) -> None:
    sources, _, whole, seconds = uninterrupted
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0.1, 0.7) * seconds, rng.uniform(0.1, 0.4) * seconds
    for moment in (first, second):
        ended = start(sources, tmp_path / "run", tmp_path / "store", cpu_seconds=moment)
        assert ended.returncode == -signal.SIGPROF, ended.stderr
    run(sources, str(tmp_path / "run"), str(tmp_path / "store"))
    same(tmp_path / "run", whole)


def test_an_image_that_ends_the_process_is_named_by_the_next_run(uninterrupted: Uninterrupted, tmp_path: Path) -> None:
    synthetic = Path(uninterrupted.sources[0])
    image = sorted(file for file in synthetic.rglob("*") if file.is_file())[2 * IMAGES_PER_SHARD + 3]
    crash = {"crashes_at": hashlib.sha256(image.read_bytes()).hexdigest()}
    for turn in range(2):
        killed = start(uninterrupted.sources, tmp_path / "run", tmp_path / "store", **crash)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert ("the last run ended while it decoded" in killed.stdout) == (turn == 1)
    assert f"`{image.relative_to(synthetic)}`" in killed.stdout and "--engine ray" in killed.stdout
