from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.containers import WRITERS, Item, drawn_items
from tests.fuzz.corpus import make
from tests.fuzz.targets import TARGETS

N_ITEMS = 24
Written = Callable[[str], Path]


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """24 images, three a person."""
    return drawn_items(N_ITEMS)


@pytest.fixture(scope="session")
def written(shared_folder: Path, items: list[Item]) -> Written:
    """The items in any container, written once for the whole test run. Tests do not change the files."""

    def path_of(name: str) -> Path:
        folder = shared_folder / "containers" / name.replace(" ", "-").replace(",", "")

        def write() -> Path:
            folder.mkdir(parents=True)
            return WRITERS[name](folder, items)

        return made_once(shared_folder, f"container-{folder.name}", write)

    return path_of


@pytest.fixture(scope="session")
def seeds(shared_folder: Path) -> dict[str, list[bytes]]:
    """The seeds of the fuzzer for each target."""

    def write() -> dict[str, list[bytes]]:
        folder = shared_folder / "corpus"
        make(folder)
        return {target: [f.read_bytes() for f in sorted((folder / target).iterdir())] for target in TARGETS}

    return made_once(shared_folder, "seeds", write)
