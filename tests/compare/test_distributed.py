"""Parts of a comparison in a storage: used only by the user whose workers wrote them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builders import unit_rows
from tests.engines import LocalEngine
from unveil.compare import compare_all, open_backend
from unveil.compare.distributed import DistributedBackend, TileSizes
from unveil.errors import EngineError, StoreError
from unveil.io.checkpoint import Checkpoint
from unveil.io.trust import StoreKey

OTHER = StoreKey(b"another user")


class EndingEngine(LocalEngine):
    """Ends when parts are to be merged, and leaves those of the tiles."""

    def map(self, name, task, items, **options):  # type: ignore[no-untyped-def]
        if name == "merging":
            raise EngineError("the cluster is gone")
        return super().map(name, task, items, **options)


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return unit_rows(rng, 12, 8), unit_rows(rng, 20, 8)


def test_parts_of_another_user_are_neither_found_nor_read(
    vectors: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    sizes = TileSizes(5, 9, 2, fan_in=3, min_pairs=0)
    ending = DistributedBackend(
        EndingEngine(1), "numpy", open_backend("numpy", 1), str(tmp_path / "store"), "work", sizes, OTHER
    )

    def compared(backend: DistributedBackend) -> np.ndarray:
        checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "a comparison")
        return compare_all(*vectors, top_k=3, top_pairs=5, backend=backend, checkpoint=checkpoint).rows

    with pytest.raises(EngineError, match="gone"):
        compared(ending)
    (theirs,) = (tmp_path / "store/work").iterdir()
    parts = sorted(theirs.rglob("*"))
    assert parts
    working = replace(ending, engine=LocalEngine(1), key=StoreKey.own())
    expected = compare_all(*vectors, top_k=3, top_pairs=5, backend=open_backend("numpy", 1)).rows
    assert np.array_equal(compared(working), expected)
    assert sorted(theirs.rglob("*")) == parts, "the folder of another user should be left alone"
    (tmp_path / "checkpoint.npz").unlink()

    with pytest.raises(EngineError, match="gone"):
        compared(replace(working, engine=EndingEngine(1)))
    (ours,) = (folder for folder in (tmp_path / "store/work").iterdir() if folder != theirs)
    part = next(file for file in sorted(ours.rglob("*")) if file.is_file())
    part.write_bytes((theirs / part.relative_to(ours)).read_bytes())
    with pytest.raises(StoreError, match="another user's"):
        compared(working)
