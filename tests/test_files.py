"""Rows taken from a large file of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unveil.io import atomic as files
from unveil.io.atomic import gather_rows


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_gathered_rows_are_the_rows(held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "HELD_BYTES", held)
    monkeypatch.setattr(files, "GATHER_ROWS", 7)
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(100, 5)).astype(np.float32)
    np.save(tmp_path / "v.npy", whole)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    rows = rng.integers(100, size=60)
    for vectors in (whole, mapped):
        assert np.array_equal(gather_rows(vectors, rows), whole[rows])
    taken = gather_rows(mapped, rows)
    assert isinstance(taken, np.memmap) == (held == 0)
    # Nothing is left beside the file, and what was taken can be taken from.
    assert [file.name for file in tmp_path.iterdir()] == ["v.npy"]
    assert np.array_equal(gather_rows(taken, np.arange(10)), whole[rows[:10]])
