"""Audits on a real Ray cluster: the bytes of a local one, whatever dies on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import drawn_faces, encoded, write
from tests.engine.cluster import Driver, Machines, differences, machines
from unveil.engine import WorkerFailure, check_engine, open_engine
from unveil.errors import EngineError, SettingError
from unveil.progress import Silent

CRASH = b"this image crashes the decoder"
# Sent to the workers as it is: there, decoding this image is a crash that no ``except`` can catch.
CRASHING = f"""
from unveil.embedding import distributed

class CrashingTask:
    def __init__(self, task):
        self.task = task

    def __call__(self):
        import os, signal
        from unveil.embedding import pipeline
        if not hasattr(pipeline, "harmless"):
            pipeline.harmless = pipeline.decode_scaled
            def decode(data, min_side):
                if data.endswith({CRASH!r}):
                    os.kill(os.getpid(), signal.SIGKILL)
                return pipeline.harmless(data, min_side)
            pipeline.decode_scaled = decode
        return self.task()

embed, probe = distributed.EmbedRanges, distributed.ProbeRanges
distributed.EmbedRanges = lambda *values: CrashingTask(embed(*values))
distributed.ProbeRanges = lambda *values: CrashingTask(probe(*values))
"""


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen: list[tuple[int, int]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def workers(self, n: int, retries: int) -> None:
        self.seen.append((n, retries))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """150 synthetic pictures, some of training people; 90 training and 80 control people."""
    folder = tmp_path_factory.mktemp("pictures")
    faces = drawn_faces(300, 5)
    for i in range(150):
        face = faces[i] if i < 20 else faces[150 + i]
        write(folder / f"synthetic/{i:03d}.png", encoded(face))
    for i in range(90):
        write(folder / f"training/t{i:03d}/1.png", encoded(faces[i], "JPEG", quality=90))
    for i in range(80):
        write(folder / f"control/c{i:03d}/1.png", encoded(faces[90 + i]))
    write(folder / "synthetic/broken.png", b"not an image")
    return [folder / role for role in ("synthetic", "training", "control")]


@pytest.fixture(scope="module")
def local(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same audit by threads of one process."""
    folder = tmp_path_factory.mktemp("local")
    driver = Driver(sources, folder / "run", folder / "store", "local")
    assert driver.wait() == 0, driver.told
    return folder / "run"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with machines() as made:
        yield made


def test_names_of_engines() -> None:
    for name in ("local", "ray", "ray:auto", "ray:10.0.0.1:6379", "ray:ray://head.example:10001", "ray:[::1]:6379"):
        assert check_engine(name) == name
    for name in ("", "spark", "ray:", "ray:a b", "ray:$(id)", "local:1"):
        with pytest.raises(SettingError, match="engine should be"):
            check_engine(name)


def test_no_cluster_is_a_message(tmp_path: Path) -> None:
    places = ["--synthetic", ".", "--training", ".", "-o", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "unveil", "audit", *places, "--engine", "ray:127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2 and "no Ray cluster at 127.0.0.1:1" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def meet(folder: Path) -> None:
    """Workers wait for the second of them, so that none has done all before another has begun."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)


def test_tasks_of_workers_that_end_are_done_by_others(cluster: Machines, tmp_path: Path) -> None:
    def job(say: Callable[[str], None]) -> Callable[[int], int]:
        say("opened")
        meet(tmp_path / "met")

        def square(task: int) -> int:
            if task == 30:
                raise SettingError("thirty is too many")
            if task == 7 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if task == 11:
                os.kill(os.getpid(), signal.SIGKILL)
            return task * task

        return square

    (tmp_path / "met").mkdir()
    told = Told()
    finished: list[int] = []
    with open_engine(f"ray:{cluster.address}", told) as engine:
        assert engine is not None
        results: list[Any] = list(engine.map("squares", job, range(20), finished=finished.append))
        assert [r for r in results if not isinstance(r, WorkerFailure)] == [i * i for i in range(20) if i != 11]
        assert isinstance(results[11], WorkerFailure) and sorted(finished) == [i for i in range(20) if i != 11]
        with pytest.raises(SettingError, match="thirty is too many"):
            list(engine.map("squares", job, [29, 30, 31]))
        assert list(engine.map("squares", job, [])) == []
    # Bounded, and told: one retry for 7, two for 11.
    assert told.seen[-1][1] == 3 and max(n for n, _ in told.seen) == 2
    assert sum("given to another" in line for line in told.lines) == 3
    assert sum("for the last time" in line for line in told.lines) == 1
    assert any(line.endswith("opened") for line in told.lines) and "2 cores" in told.lines[0]


def test_workers_that_ended_while_nobody_needed_them_cost_no_task_a_try(cluster: Machines, tmp_path: Path) -> None:
    def both(say: Callable[[str], None]) -> Callable[[int], int]:
        meet(tmp_path)
        return lambda task: task + 1

    def job(say: Callable[[str], None]) -> Callable[[int], int]:
        return lambda task: task + 1

    told = Told()
    with open_engine(f"ray:{cluster.address}", told) as engine:
        assert engine is not None
        assert list(engine.map("first", both, range(8))) == list(range(1, 9))
        for worker in tmp_path.iterdir():
            os.kill(int(worker.name), signal.SIGKILL)
        assert list(engine.map("second", job, range(8), attempts=1)) == list(range(1, 9))
    assert told.seen[-1][1] == 0


def test_an_audit_has_the_bytes_of_a_local_one(
    cluster: Machines, sources: list[Path], local: Path, tmp_path: Path
) -> None:
    driver = Driver(sources, tmp_path / "run", tmp_path / "store", f"ray:{cluster.address}")
    assert driver.wait() == 0, driver.told
    assert not differences(local, tmp_path / "run")
    assert not list((tmp_path / "store/work").rglob("*.npz")), "tiles should be gone"


def test_paths_are_those_of_the_folder_that_the_audit_was_started_in(
    cluster: Machines, sources: list[Path], local: Path
) -> None:
    here, there = sources[0].parent, f"ray:{cluster.address}"
    driver = Driver([Path(s.name) for s in sources], Path("run"), "store", there, folder=here)
    assert driver.wait() == 0, driver.told
    assert (here / "store").is_dir()
    for name in ("people.parquet", "matches.parquet", "stores/training.npy"):
        assert (here / "run" / name).read_bytes() == (local / name).read_bytes(), name


@pytest.mark.parametrize("stage", ["embedding control", "comparing synthetic with training"])
def test_whatever_ends_the_result_is_the_same(
    cluster: Machines, sources: list[Path], local: Path, tmp_path: Path, stage: str
) -> None:
    arguments = (sources, tmp_path / "run", tmp_path / "store", f"ray:{cluster.address}")
    driver = Driver(*arguments)
    driver.until(f"STAGE {stage}")
    if stage == "embedding control":
        assert cluster.kill_worker()
        cluster.kill_machine(1)
    else:
        driver.kill()
        driver = Driver(*arguments)
    assert driver.wait() == 0, driver.told
    assert not differences(local, tmp_path / "run")


def test_an_image_that_crashes_the_decoder_is_a_reject(cluster: Machines, sources: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sources[0], tmp_path / "synthetic"))
    crashing = folder / "077.png"
    crashing.write_bytes(crashing.read_bytes() + CRASH)
    places = [folder, sources[1], sources[2]]
    driver = Driver(places, tmp_path / "run", tmp_path / "store", f"ray:{cluster.address}", CRASHING)
    assert driver.wait() == 0, driver.told
    assert "`077.png` ends every process that decodes it and is rejected" in driver.told
    import pyarrow.parquet as pq

    rejects = {row["id"]: row for row in pq.read_table(tmp_path / "run/rejects.parquet").to_pylist()}
    assert set(rejects) == {"077.png", "broken.png"}
    assert (rejects["077.png"]["stage"], rejects["077.png"]["reason"]) == ("decode", "crashes the decoder")
    # The shard stores the reject, so the image is not decoded again.
    again = Driver(places, tmp_path / "again", tmp_path / "store", "local")
    assert again.wait() == 0, again.told
    assert not differences(tmp_path / "run", tmp_path / "again")


ELSEWHERE = """
from dataclasses import replace
from unveil.embedding import distributed
from unveil.images.location import Location

embed = distributed.EmbedRanges

def elsewhere(input, *values):
    return embed(replace(input, source=replace(input.source, location=Location("/not/there"))), *values)

distributed.EmbedRanges = elsewhere
"""


def test_workers_without_the_images_are_an_error(cluster: Machines, tmp_path: Path) -> None:
    write(tmp_path / "synthetic/1.png", encoded(drawn_faces(1)[0]))
    places = [tmp_path / "synthetic", tmp_path / "synthetic", None]
    driver = Driver(places, tmp_path / "run", tmp_path / "store", f"ray:{cluster.address}", ELSEWHERE)
    assert driver.wait() != 0
    assert "every machine of the cluster must have the images at this place" in driver.told


def test_nobody_to_work_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from unveil.engine import cluster as room

    monkeypatch.setattr(room, "RETRY_SECONDS", 3.0)
    with machines(0) as empty, open_engine(f"ray:{empty.address}", Silent()) as engine:
        assert engine is not None
        begun = time.monotonic()
        with pytest.raises(EngineError, match="no worker for 3 s"):
            list(engine.map("waiting", lambda say: lambda task: task, [1]))
        assert time.monotonic() - begun < 30
    assert not [t for t in threading.enumerate() if t.name.startswith("unveil")]
