from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
from filelock import FileLock

import unveil
from tests.builders import MAX_CI_EXAMPLES, NIGHTLY_FACTOR, PROFILE, audit
from unveil.demo.world import World, make_world
from unveil.native import library

for name in ("ci", "nightly"):
    hypothesis.settings.register_profile(
        name, max_examples=MAX_CI_EXAMPLES * (1 if name == "ci" else NIGHTLY_FACTOR), deadline=None
    )
hypothesis.settings.load_profile(PROFILE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel", type=Path, help="test this build of the compiled kernel")
    parser.addoption("--write-golden", action="store_true", help="record the numbers of tests/golden again")


def pytest_configure(config: pytest.Config) -> None:
    built = config.getoption("--kernel")
    if built is not None:
        library.HERE, library.FILE_NAME = built.resolve().parent, built.name
        assert library.load()[0] is not None, library.load()[1]


# What takes longest begins first, so that no process is left alone with it at the end.
LONGEST = (
    "tests/engine",
    "tests/io",
    "tests/test_resume",
    "tests/test_real",
    "tests/mitigation",
    "tests/review",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


T = TypeVar("T")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, name: str, make: Callable[[], T]) -> T:
    """What ``make`` returns, made by the first process that asks and read from disk by the others."""
    done = folder / f"{name}.pickle"
    with FileLock(folder / f"{name}.lock"):
        if not done.exists():
            done.write_bytes(pickle.dumps(make()))
    loaded: T = pickle.loads(done.read_bytes())
    return loaded


@pytest.fixture(scope="session")
def world(shared_folder: Path) -> World:
    """150 training people, 40 of them leaked, 300 control people, 100 fresh synthetic ones; all drawn."""
    folder = shared_folder / "world"
    return made_once(
        shared_folder, "world", lambda: make_world(folder, 7, training=150, control=300, fresh=100, planted=8)
    )


@pytest.fixture(scope="session")
def store(shared_folder: Path) -> Path:
    """One store for the whole test run: images of the world are embedded once."""
    folder = shared_folder / "store"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def audited(world: World, store: Path, shared_folder: Path) -> tuple[unveil.AuditResult, Path]:
    """The world's audit and its run directory, with redacted copies. Tests do not write to it."""
    run = shared_folder / "audited"

    def make() -> unveil.AuditResult:
        return audit(world.synthetic, world.training, world.control, out=run, store=store, redact=True)

    return made_once(shared_folder, "audited", make), run
