from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import hypothesis
import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

import unveil
from tests.builders import MAX_CI_EXAMPLES, NIGHTLY_FACTOR, PROFILE, StartedComparisons, audit, save_embeddings
from unveil.analysis import leak_kinds
from unveil.channels import similarity
from unveil.demo.world import World, make_world
from unveil.faces.align import ImageArray
from unveil.faces.detectors.base import DetectedFace
from unveil.faces.detectors.dlib_hog import DlibDetector
from unveil.native import library
from unveil.runs.parts import role_file
from unveil.types import ROLES

T = TypeVar("T")

for name in ("ci", "nightly"):
    hypothesis.settings.register_profile(
        name, max_examples=MAX_CI_EXAMPLES * (1 if name == "ci" else NIGHTLY_FACTOR), deadline=None
    )
hypothesis.settings.load_profile(PROFILE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel", type=Path, help="test this build of the compiled kernel")
    parser.addoption("--write-golden", action="store_true", help="record the numbers of tests/golden again")


def pytest_configure(config: pytest.Config) -> None:
    # One key for all processes of a test run, which inherit the variable.
    os.environ.setdefault("UNVEIL_KEY", str(Path(tempfile.mkdtemp(prefix="unveil-tests-")) / "key"))
    os.environ.setdefault("UNVEIL_CACHE", tempfile.mkdtemp(prefix="unveil-tests-"))
    # The library `datasets` writes to no folder of the user, and asks no server.
    os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="unveil-tests-"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    built = config.getoption("--kernel")
    if built is not None:
        library.HERE, library.FILE_NAME = built.resolve().parent, built.name
        assert library.load()[0] is not None, library.load()[1]


def remembered(function: Callable[..., T], *, method: bool = False) -> Callable[..., T]:
    """A function of arrays, that depends on nothing else, as one that is computed once in a process for equal ones."""
    known: dict[tuple[object, ...], T] = {}

    def key_of(value: object) -> object:
        if not isinstance(value, np.ndarray):
            return value
        return value.shape, value.dtype.str, hashlib.sha256(np.ascontiguousarray(value).data).digest()

    def call(*arguments: Any) -> T:
        key = tuple(map(key_of, arguments[method:]))
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return call


@pytest.fixture(scope="session", autouse=True)
def pixels_looked_at_once() -> Iterator[None]:
    """Each audit of images decides whether they are crops, and measures the closest pairs: seconds for equal pixels."""
    detect = remembered(DlibDetector.detect, method=True)

    def found(self: DlibDetector, image: ImageArray) -> list[DetectedFace]:
        return list(detect(self, image))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DlibDetector, "detect", found)
        for module, name in (
            (leak_kinds, "realigned_face"),
            (similarity, "_hashes"),
            (similarity, "_best_correlation"),
        ):
            patch.setattr(module, name, remembered(getattr(module, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Processes are killed in tests, but no machine loses its power: each file would wait some milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


# What takes longest, a list for each of three processes: each begins with its list, in this order, so that none is left
# alone with it at the end. Tests in one list share what they start, such as a cluster.
LONGEST = (
    ("tests/test_documented_commands.py::test_commands_run_as_typed[pages", "tests/engine", "tests/io"),
    ("tests/test_real", "tests/test_resume", "tests/cli", "tests/test_lab"),
    ("tests/test_documented_commands", "tests/test_golden", "tests/test_audit", "tests/mitigation", "tests/review"),
)


def _place_in_its_list(item: pytest.Item) -> int:
    """The first name in a list of `LONGEST` that the test begins with."""
    return min(i for names in LONGEST for i, name in enumerate(names) if item.nodeid.startswith(name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first: list[list[pytest.Item]] = [[] for _ in range(processes)]
    others: list[pytest.Item] = []
    for item in items:
        where = next((i for i, names in enumerate(LONGEST) if item.nodeid.startswith(names)), None)
        (others if where is None else first[where % processes]).append(item)
    ordered: list[pytest.Item] = []
    for i, part in enumerate(first):
        part.sort(key=_place_in_its_list)
        # pytest-xdist divides the tests into parts of equal size before processes take tests from each other.
        size = (len(items) - len(ordered)) // (processes - i)
        fill = max(0, size - len(part))
        ordered += [*part, *others[:fill]]
        del others[:fill]
    items[:] = [*ordered, *others]


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


class Unplanted(NamedTuple):
    """An audit without planted leaks, its run directory, and the pairs of each comparison that it started."""

    result: unveil.AuditResult
    run: Path
    pairs: dict[str, int]


@pytest.fixture(scope="session")
def unplanted(world: World, store: Path, shared_folder: Path) -> Unplanted:
    """The world's audit without planted leaks, to compare others with. Tests do not write to it."""
    run = shared_folder / "unplanted"

    def make() -> Unplanted:
        started = StartedComparisons()
        settings = {"out": run, "store": store, "planted_leaks": "off", "progress": started}
        return Unplanted(audit(world.synthetic, world.training, world.control, **settings), run, started.pairs)

    return made_once(shared_folder, "unplanted", make)


class Precomputed(NamedTuple):
    """Files with the embeddings of the world's images."""

    synthetic: Path
    training: Path
    control: Path


@pytest.fixture(scope="session")
def precomputed(audited: tuple[unveil.AuditResult, Path], shared_folder: Path) -> Precomputed:
    """The embeddings of the audited images, for audits of which images are not the point."""
    _, run = audited
    folder = shared_folder / "precomputed"

    def make() -> Precomputed:
        folder.mkdir()
        for role in ROLES:
            images = pq.read_table(role_file(run, role)).to_pydict()
            people = [person or "" for person in images["person"]]
            save_embeddings(folder / f"{role}.npz", np.load(run / f"stores/{role}.npy"), images["id"], people)
        return Precomputed(*(folder / f"{role}.npz" for role in ROLES))

    return made_once(shared_folder, "precomputed", make)
