"""Large arrays lie in files without a name, and hold what arrays in memory hold."""

from __future__ import annotations

import contextvars
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from unveil.native import arrays_in_files, arrays_in_memory, bytes_in_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="arrays lie in files on Linux alone")
LEAST, LARGE = 2**20, 300_000  # bytes, and float64 that are more


@pytest.fixture
def inside() -> Callable[[Callable[[], object]], object]:
    """Runs a function in a context of its own, in which large arrays lie in files."""

    def run(function: Callable[[], object]) -> object:
        def started() -> object:
            if not arrays_in_files(LEAST):
                pytest.skip("the library is not compiled")
            return function()

        return contextvars.copy_context().run(started)

    return run


def test_large_arrays_are_in_files_until_they_end(inside: Callable[[Callable[[], object]], object]) -> None:
    before = bytes_in_files()

    def work() -> object:
        rng = np.random.default_rng(0)
        values, expected = rng.normal(size=LARGE), np.random.default_rng(0).normal(size=1000)
        zeros = np.zeros(LARGE)
        assert bytes_in_files() - before == 2 * 8 * LARGE and not zeros.any()
        maps = Path("/proc/self/maps").read_text()
        assert maps.count(".unveil-array-") == 2 and maps.count("(deleted)") >= 2
        assert values[:1000].tolist() == expected.tolist()
        order = np.argsort(values, kind="stable")
        assert values[order].tolist() == sorted(values.tolist())
        grown = np.arange(LARGE)
        grown.resize(2 * LARGE, refcheck=False)
        assert (grown[:LARGE] == np.arange(LARGE)).all() and not grown[LARGE:].any()
        grown.resize(10, refcheck=False)
        assert grown.tolist() == list(range(10))
        small = np.zeros(100)
        arrays_in_memory()
        ordinary = np.zeros(LARGE)
        held = bytes_in_files()
        del zeros
        assert held - bytes_in_files() == 8 * LARGE and small.sum() == ordinary.sum() == 0
        return values

    values = inside(work)
    assert bytes_in_files() > before  # an array outlives its context
    del values
    assert bytes_in_files() == before and np.zeros(LARGE).sum() == bytes_in_files() - before


def test_other_threads_and_a_full_disk_have_ordinary_memory(
    inside: Callable[[Callable[[], object]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere() -> object:
        before = bytes_in_files()
        with ThreadPoolExecutor(1) as pool:
            array = pool.submit(np.ones, LARGE).result()
        return array.sum() == LARGE and bytes_in_files() == before

    assert inside(elsewhere)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * 8 * LARGE))

    def three() -> object:
        before = bytes_in_files()
        arrays = [np.full(LARGE, i) for i in range(3)]
        return bytes_in_files() - before == 8 * LARGE and [int(array.sum()) for array in arrays] == [
            0,
            LARGE,
            2 * LARGE,
        ]

    assert inside(three)
