"""Every command with ``--engine`` on one Ray cluster: the bytes of the same command on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import drawn_faces, encoded, write
from tests.cli.runner import Done, unveil
from tests.engine.cluster import Machines
from tests.sharing.sets import draw_sets
from unveil.engine import Engine, open_engine, opening
from unveil.progress import Silent

ROLES = ("synthetic", "training", "control")


class Tasks:
    """An engine that records the names of the tasks that it applied, and how often it was opened."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.names, self.opened = engine, set[str](), 0
        self.description, self.share, self.close = engine.description, engine.share, engine.close

    def map(self, name: str, task: Any, items: Iterable[Any], **options: Any) -> Generator[Any, None, None]:
        self.names.add(name)
        return self._engine.map(name, task, items, **options)


@pytest.fixture(scope="module")
def connected(cluster: Machines) -> Iterator[Engine]:
    """One connection for all commands of this file, so that workers start once."""
    with open_engine(f"ray:{cluster.address}", Silent()) as engine:
        assert engine is not None
        yield engine


@pytest.fixture
def tasks(connected: Engine, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """What the workers did in one test; ``--engine ray:...`` is this engine."""
    recording, open_named = Tasks(connected), opening.open_engine

    @contextlib.contextmanager
    def open_once(name: str, *arguments: Any) -> Iterator[Engine | None]:
        if name.startswith("ray:"):
            recording.opened += 1
            yield recording
            return
        with open_named(name, *arguments) as engine:
            yield engine

    monkeypatch.setattr(opening, "open_engine", open_once)
    return recording


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 synthetic images, 12 of the 40 training people; 62 control people; an audit of them without a cluster."""
    folder = tmp_path_factory.mktemp("commands")
    faces = drawn_faces(140, 8)
    for i in range(40):
        write(folder / f"synthetic/{i:02d}.png", encoded(faces[i if i < 12 else 100 + i]))
        write(folder / f"training/t{i:02d}/1.png", encoded(faces[i], "JPEG", quality=90))
        if i < 6:
            write(folder / f"training/t{i:02d}/2.png", encoded(faces[i]))
    for i in range(62):
        write(folder / f"control/c{i:02d}/1.png", encoded(faces[40 + i]))
    succeeds("audit", *sets(folder), "--planted-leaks=off", "-o", folder / "run", "--store", folder / "store")
    return folder


def sets(folder: Path) -> list[str]:
    return [f"--{role}={folder / role}" for role in ROLES]


def succeeds(*arguments: object) -> Done:
    done = unveil(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def assert_same(a: Path, b: Path, *patterns: str) -> None:
    """Both folders have the same files of these patterns with the same bytes."""
    for pattern in patterns:
        names = sorted(str(file.relative_to(a)) for file in a.glob(pattern))
        assert names and names == sorted(str(file.relative_to(b)) for file in b.glob(pattern)), pattern
        for name in names:
            assert (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.mark.nightly
def test_an_audit_plants_and_classifies_by_workers(folder: Path, tasks: Tasks, tmp_path: Path) -> None:
    audit = ("audit", *sets(folder), "--planted-leaks=quick", "--store")
    succeeds(*audit, folder / "store", "-o", tmp_path / "local")
    assert not tasks.names
    succeeds(*audit, tmp_path / "store", "-o", tmp_path / "by-ray", "--engine=ray:cluster")
    assert tasks.names >= {"embedding synthetic", "embedding planted", "measuring pairs"}
    assert_same(tmp_path / "local", tmp_path / "by-ray", "audit.json", "report.html", "*.parquet", "stores/*.npy")
    # Shards of planted images are of the same name and content, whoever made them.
    shards = {file.name for file in (tmp_path / "store").rglob("*.npy")}
    assert shards and shards <= {file.name for file in (folder / "store").rglob("*.npy")}


@pytest.mark.nightly
def test_a_cleaning_audits_the_rest_by_workers(folder: Path, tasks: Tasks, tmp_path: Path) -> None:
    succeeds("clean", folder / "run", "-o", tmp_path / "local")
    assert not tasks.names
    succeeds("clean", folder / "run", "-o", tmp_path / "by-ray", "--engine=ray:cluster", "--store", tmp_path / "store")
    assert "embedding training" in tasks.names
    assert_same(tmp_path / "local", tmp_path / "by-ray", "*.txt", "clean.json", "after-1/*.parquet")


def test_a_guard_is_built_by_workers(folder: Path, tasks: Tasks, tmp_path: Path) -> None:
    succeeds("guard", "build", folder / "run", "-o", tmp_path / "local")
    assert not tasks.names
    succeeds("guard", "build", folder / "run", "-o", tmp_path / "by-ray", "--engine=ray:cluster")
    assert tasks.names == {"decoding the training images"}
    assert_same(tmp_path / "local", tmp_path / "by-ray", "*.npy", "guard.json")


def test_an_overlap_is_found_by_workers(tasks: Tasks, tmp_path: Path) -> None:
    two = draw_sets(tmp_path, people=30)
    overlap = ("overlap", two.a, two.b, "--aligned=yes", "-o")
    succeeds(*overlap, tmp_path / "local", "--store", tmp_path / "local-store")
    assert not tasks.names
    succeeds(*overlap, tmp_path / "by-ray", "--store", tmp_path / "store", "--engine=ray:cluster")
    assert tasks.names >= {"embedding A", "embedding B", "measuring pairs"}
    assert_same(tmp_path / "local", tmp_path / "by-ray", "overlap.json", "*.csv", "*.txt")


@pytest.mark.nightly
def test_a_study_opens_one_cluster_for_its_audits(folder: Path, tasks: Tasks, tmp_path: Path) -> None:
    places = {role: f'{role} = "{role}"' for role in ROLES}
    one = "\n".join(['[[set]]\nname = "one"', *places.values(), 'planted_leaks = "off"'])
    two = "\n".join(['[[set]]\nname = "two"', places["synthetic"], places["training"]])
    study = ("study", write(folder / "study.toml", f"{one}\n{two}"), "-o", tmp_path / "out", "--engine=ray:cluster")
    succeeds(*study)
    assert tasks.opened == 1 and "embedding synthetic" in tasks.names
    assert_same(folder / "run", tmp_path / "out/runs/one", "people.parquet", "matches.parquet", "stores/*.npy")
    assert (tmp_path / "out/runs/two/audit.json").exists()
    # What is finished needs no cluster.
    succeeds(*study)
    assert tasks.opened == 1


@pytest.mark.parametrize("command", ["audit", "overlap", "study", "clean", "guard build"])
def test_every_command_checks_the_name_of_its_engine(command: str, folder: Path, tmp_path: Path) -> None:
    write(folder / "study.toml", '[[set]]\nname = "one"\nsynthetic = "synthetic"\ntraining = "training"\n')
    of_command: dict[str, list[Any]] = {
        "audit": sets(folder),
        "overlap": [folder / "training", folder / "control"],
        "study": [folder / "study.toml"],
        "clean": [folder / "run"],
        "guard build": [folder / "run"],
    }
    done = unveil(*command.split(), *of_command[command], "-o", tmp_path / "out", "--engine=spark")
    assert done.returncode == 2 and "engine should be local, ray" in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
