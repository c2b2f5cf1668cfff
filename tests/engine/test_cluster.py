"""Audits on a Ray cluster: the bytes of a local audit, whatever fails on the way."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.builders import drawn_faces, encoded, write
from tests.cli.runner import unveil
from tests.engine.cluster import Driver, Machines, differences
from unveil.engine import WorkerFailure, check_engine, open_engine
from unveil.errors import EngineError, ImageError, SettingError
from unveil.progress import Silent

POISON = b"this image ends the decoder"
# Workers receive these classes with the program: there, decoding a poisoned image is a crash that no `except` catches.
POISONED = f"""
from unveil.embedding import distributed

class Deadly:
    def __init__(self, task):
        self.task = task
    def __call__(self):
        import os, signal
        from unveil.embedding import pipeline
        if not hasattr(pipeline, "harmless"):
            pipeline.harmless = pipeline.decode_scaled
            def decode(data, *rest):
                if data.endswith({POISON!r}):
                    os.kill(os.getpid(), signal.SIGKILL)
                return pipeline.harmless(data, *rest)
            pipeline.decode_scaled = decode
        return self.task()

embed, probe = distributed.EmbedRanges, distributed.ProbeRanges
distributed.EmbedRanges = lambda *arguments: Deadly(embed(*arguments))
distributed.ProbeRanges = lambda *arguments: Deadly(probe(*arguments))
"""
# Workers look for the images in another folder.
ELSEWHERE = """
import dataclasses
from unveil.embedding import distributed

class Elsewhere:
    def __init__(self, task):
        self.task = task
    def __call__(self):
        from unveil.images.location import Location
        source = dataclasses.replace(self.task.input.source, location=Location("/not/there"))
        return dataclasses.replace(self.task, input=dataclasses.replace(self.task.input, source=source))()

embed = distributed.EmbedRanges
distributed.EmbedRanges = lambda *arguments: Elsewhere(embed(*arguments))
"""


class Workers(Silent):
    """Records the numbers of workers and retries."""

    def __init__(self) -> None:
        self.reported: list[tuple[int, int]] = []

    def workers(self, n: int, retries: int) -> None:
        self.reported.append((n, retries))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 synthetic images, some of training people; 90 training and 80 control people."""
    folder = tmp_path_factory.mktemp("images")
    faces = drawn_faces(300, 5)
    for i in range(150):
        face = faces[i] if i < 20 else faces[150 + i]
        write(folder / f"synthetic/{i:03d}.png", encoded(face))
    for i in range(90):
        write(folder / f"training/t{i:03d}/1.png", encoded(faces[i], "JPEG", quality=90))
    for i in range(80):
        write(folder / f"control/c{i:03d}/1.png", encoded(faces[90 + i]))
    write(folder / "synthetic/broken.png", b"not an image")
    return folder


SOURCES = [Path("synthetic"), Path("training"), Path("control")]


@pytest.fixture(scope="module")
def local(images: Path) -> Path:
    """The same audit by threads of one process, with paths relative to its folder."""
    driver = Driver(SOURCES, Path("local"), "local-store", "local", folder=images)
    assert driver.wait() == 0, driver.output
    return images / "local"


def test_names_of_engines() -> None:
    for name in ("local", "ray", "ray:auto", "ray:10.0.0.1:6379", "ray:ray://head.example:10001", "ray:[::1]:6379"):
        assert check_engine(name) == name
    for name in ("", "spark", "ray:", "ray:a b", "ray:$(id)", "local:1"):
        with pytest.raises(SettingError, match="engine should be"):
            check_engine(name)


def test_a_missing_cluster_is_a_message(tmp_path: Path) -> None:
    write(tmp_path / "images/1.png", encoded(drawn_faces(1)[0]))
    places = ["--synthetic", "images", "--training", "images", "-o", "run"]
    done = unveil("audit", *places, "--engine", "ray:127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 4 and "no Ray cluster at 127.0.0.1:1" in done.stderr


def meet(folder: Path) -> None:
    """Waits for a second worker, so that neither does all items before the other has begun."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)


@pytest.mark.nightly
def test_items_of_workers_that_end_are_retried(
    cluster: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def task() -> Callable[[int], int]:
        logging.getLogger("unveil.example").info("opened")
        meet(tmp_path / "met")

        def square(item: int) -> int:
            if item == 30:
                raise SettingError("thirty is too many")
            if item == 31:
                raise ImageError("decode", "damaged", "cut short")
            if item == 7 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if item == 11:
                os.kill(os.getpid(), signal.SIGKILL)
            return item * item

        return square

    (tmp_path / "met").mkdir()
    caplog.set_level(logging.INFO, "unveil")
    listener = Workers()
    finished: list[int] = []
    with open_engine(f"ray:{cluster.address}", listener) as engine:
        assert engine is not None
        results: list[Any] = list(engine.map("squares", task, range(20), finished=finished.append))
        assert [r for r in results if not isinstance(r, WorkerFailure)] == [i * i for i in range(20) if i != 11]
        assert isinstance(results[11], WorkerFailure) and sorted(finished) == [i for i in range(20) if i != 11]
        with pytest.raises(SettingError, match="thirty is too many"):
            list(engine.map("squares", task, [29, 30]))
        with pytest.raises(ImageError, match="damaged: cut short"):
            list(engine.map("squares", task, [31]))
        assert list(engine.map("squares", task, [])) == []
    # One retry of 7 and two of 11, each of them logged.
    assert listener.reported[-1][1] == 3 and max(n for n, _ in listener.reported) == 2
    messages = [record.getMessage() for record in caplog.records]
    assert sum("its item is retried" in message for message in messages) == 3
    assert sum("at the last of 3 attempts" in message for message in messages) == 1
    assert "2 cores" in messages[0]
    forwarded = [record for record in caplog.records if record.name == "unveil.example"]
    assert len(forwarded) >= 2 and all(record.getMessage().endswith(": opened") for record in forwarded)


@pytest.mark.nightly
def test_workers_that_end_between_tasks_cost_no_item_an_attempt(cluster: Machines, tmp_path: Path) -> None:
    def both() -> Callable[[int], int]:
        meet(tmp_path)
        return lambda item: item + 1

    def task() -> Callable[[int], int]:
        return lambda item: item + 1

    listener = Workers()
    with open_engine(f"ray:{cluster.address}", listener) as engine:
        assert engine is not None
        assert list(engine.map("first", both, range(8))) == list(range(1, 9))
        for worker in tmp_path.iterdir():
            os.kill(int(worker.name), signal.SIGKILL)
        assert list(engine.map("second", task, range(8), attempts=1)) == list(range(1, 9))
    assert listener.reported[-1][1] == 0


def test_a_cluster_that_starts_no_worker_is_a_message(cluster: Machines) -> None:
    with open_engine(f"ray:{cluster.address}", Silent(), retry_for=3) as engine:
        assert engine is not None
        begun = time.monotonic()
        # No machine of the cluster has a GPU.
        with pytest.raises(EngineError, match="no worker for 3 s"):
            list(engine.map("waiting", lambda: lambda item: item, [1], gpus=1))
        assert 3 <= time.monotonic() - begun < 30


@pytest.mark.nightly
def test_an_audit_that_loses_worker_machine_and_driver_has_the_bytes_of_a_local_one(
    cluster: Machines, images: Path, local: Path
) -> None:
    """Workers also find relative paths, which are those of the folder in which the audit was started."""

    def start() -> Driver:
        return Driver(SOURCES, Path("run"), "store", f"ray:{cluster.address}", folder=images)

    driver = start()
    driver.until("STAGE embedding control")
    assert cluster.kill_worker()
    cluster.kill_machine(1)
    driver.until("STAGE comparing synthetic with training")
    driver.kill()
    driver = start()
    assert driver.wait() == 0, driver.output
    assert not differences(local, images / "run")
    assert (images / "store").is_dir() and not list((images / "store/work").rglob("*.npz")), "tiles should be removed"


@pytest.mark.nightly
def test_an_image_that_crashes_the_decoder_is_rejected(cluster: Machines, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "synthetic"
    for file in sorted((images / "synthetic").iterdir())[-31:]:
        write(folder / file.name, file.read_bytes() + POISON * (file.name == "137.png"))
    # Other tests may have embedded the training images already; they are not the point.
    places, store = [folder, images / "training", None], images / "store"
    driver = Driver(places, tmp_path / "run", store, f"ray:{cluster.address}", POISONED)
    assert driver.wait() == 0, driver.output
    assert "`137.png` ends every process that decodes it and is rejected" in driver.output
    rejects = {row["id"]: row for row in pq.read_table(tmp_path / "run/rejects.parquet").to_pylist()}
    assert set(rejects) == {"137.png", "broken.png"}
    assert (rejects["137.png"]["stage"], rejects["137.png"]["reason"]) == ("decode", "crashes the decoder")
    # The shard stores the reject, so no process decodes the image again.
    again = Driver(places, tmp_path / "again", store, "local")
    assert again.wait() == 0, again.output
    assert not differences(tmp_path / "run", tmp_path / "again")


def test_workers_that_do_not_find_the_images_are_a_message(cluster: Machines, tmp_path: Path) -> None:
    write(tmp_path / "synthetic/1.png", encoded(drawn_faces(1)[0]))
    where = [tmp_path / "synthetic", tmp_path / "synthetic", None]
    driver = Driver(where, tmp_path / "run", tmp_path / "store", f"ray:{cluster.address}", ELSEWHERE)
    assert driver.wait() != 0
    assert "every machine of the cluster must have the images at this place" in driver.output
