"""Checkpoints of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unveil.io.checkpoint import Checkpoint


def test_a_checkpoint_with_another_key_or_damaged_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    Checkpoint(path, "one", 0).save(lambda: {"done": np.array(3)}, done=True)
    state = Checkpoint(path, "one").load()
    assert state is not None and int(state["done"]) == 3
    assert Checkpoint(path, "two").load() is None
    assert Checkpoint(path, "one").with_key("more").load() is None
    path.write_bytes(path.read_bytes()[:-20])
    assert Checkpoint(path, "one").load() is None
    assert Checkpoint(tmp_path / "none.npz", "one").load() is None


def test_a_checkpoint_is_saved_when_due_and_when_done(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.npz", "key", every_seconds=3600)
    checkpoint.save(lambda: {"done": np.array(1)}, done=False)
    assert checkpoint.load() is None
    checkpoint.save(lambda: {"done": np.array(2)}, done=True)
    assert checkpoint.load() is not None
    nowhere = Checkpoint(None, "key", 0)
    nowhere.save(lambda: {"done": np.array(1)}, done=True)
    assert not nowhere.saves and nowhere.load() is None
