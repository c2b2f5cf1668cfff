from __future__ import annotations

from pathlib import Path

import pytest

import unveil
from tests.builders import audit
from unveil.demo.world import World, make_world
from unveil.native import library


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
    "tests/test_addresses",
    "tests/test_resume",
    "tests/test_real",
    "tests/remedy",
    "tests/review",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """150 training people, 40 of them leaked, 300 control people, 100 fresh synthetic ones; all drawn."""
    return make_world(tmp_path_factory.mktemp("world"), 7, training=150, control=300, fresh=100, planted=8)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the whole session: pictures of the world are embedded once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def audited(world: World, store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[unveil.AuditResult, Path]:
    """The world's audit and its run directory, with redacted copies."""
    run = tmp_path_factory.mktemp("runs") / "run"
    result = audit(world.synthetic, world.training, world.control, out=run, store=store, redact=True)
    return result, run
