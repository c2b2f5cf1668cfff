"""What `unveil inspect` holds in memory, and what it says of files that it reads in part."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.builders import encoded, write
from unveil.embedding import embed
from unveil.images import decode_rgb
from unveil.inspection import inspect as inspection
from unveil.inspection.inspect import inspect


def test_large_images_are_held_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred photographs at once would take gigabytes."""
    for i in range(30):
        write(tmp_path / f"{i}.png", encoded(np.full((64, 64, 3), i, np.uint8)))
    held, most = 0, 0

    def released() -> None:
        nonlocal held
        held -= 1

    def counted(data: bytes) -> np.ndarray:
        nonlocal held, most
        pixels = decode_rgb(data)
        held, most = held + 1, max(most, held + 1)
        weakref.finalize(pixels, released)
        return pixels

    for module in (embed, inspection):
        monkeypatch.setattr(module, "decode_rgb", counted)
    assert inspect(str(tmp_path)).sampled == 30
    # One is used while the next is decoded.
    assert 1 <= most <= 2


def test_smaller_images_behind_the_first_of_a_file_are_counted(tmp_path: Path) -> None:
    large, small = (encoded(np.zeros((side, side, 3), np.uint8), "JPEG") for side in (64, 32))
    write(tmp_path / "a.jpg", large)
    write(tmp_path / "b.jpg", large + small)
    note = "not read: smaller images behind the first in 1 files, as telephones add them: b.jpg"
    assert note in inspect(str(tmp_path)).source.notes
