"""Checkpoints of comparisons."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unveil.io.checkpoint import Checkpoint
from unveil.io.npy import read_npz
from unveil.io.storage import Cache, RemoteStorage


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


def test_a_checkpoint_of_somebody_else_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.npz"
    Checkpoint(path, "one", 0).save(lambda: {"done": np.array(3)}, done=True)
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "key"))
    assert Checkpoint(path, "one").load() is None
    Checkpoint(path, "one", 0).save(lambda: {"done": np.array(4)}, done=True)
    assert Checkpoint(path, "one").load() is not None
    # Where no key can be stored, nobody's checkpoint is believed, an unsealed one neither.
    monkeypatch.setenv("UNVEIL_KEY", str(path / "key"))
    assert Checkpoint(path, "one").load() is None
    Checkpoint(path, "one", 0).save(lambda: {"done": np.array(5)}, done=True)
    assert Checkpoint(path, "one").load() is None
    assert caplog.text.count("expected a key of 32 bytes, or a place to make one, found neither") == 1


def test_a_checkpoint_is_found_at_an_address_and_believed_with_its_key_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = RemoteStorage(f"file://{tmp_path}/there", Cache("", root=tmp_path / "cache"))
    here, elsewhere = tmp_path / "here/c.npz", tmp_path / "elsewhere/c.npz"
    first = Checkpoint(here, "one", 0, storage, "work").with_key("more").part(1)
    first.save(lambda: {"done": np.array(3)}, done=True)
    again = Checkpoint(elsewhere, "one", 0, storage, "work").with_key("more")
    state = again.part(1).load()
    assert state is not None and int(state["done"]) == 3 and elsewhere.with_name("c-1.npz").exists()
    assert again.load() is None and again.part(2).load() is None
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "key"))
    elsewhere.with_name("c-1.npz").unlink()
    assert again.part(1).load() is None


def test_every_changed_byte_of_a_checkpoint_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    saved = {"row": np.arange(6), "score": np.linspace(0, 1, 5), "none": np.zeros(0)}
    Checkpoint(path, "key", 0).save(lambda: saved, done=True)
    whole = path.read_bytes()
    noticed = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        state = Checkpoint(path, "key").load()
        noticed += state is None
        if state is not None:
            assert all(np.array_equal(state[name], saved[name]) for name in saved), at
    assert noticed > len(whole) / 2


def test_a_checkpoint_decides_no_allocation(tmp_path: Path) -> None:
    """A header that states a terabyte, an array that is compressed, and members that share their bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**37,)})
    for compressed in (False, True):
        path = tmp_path / f"{compressed}.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
            archive.writestr("row.npy", header.getvalue() + bytes(2**20))
        with pytest.raises(ValueError, match=r"without compression|shape"):
            read_npz(path)
        assert Checkpoint(path, "key").load() is None


def test_a_checkpoint_is_saved_when_due_and_when_done(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.npz", "key", every_seconds=3600)
    checkpoint.save(lambda: {"done": np.array(1)}, done=False)
    assert checkpoint.load() is None
    checkpoint.save(lambda: {"done": np.array(2)}, done=True)
    assert checkpoint.load() is not None
    nowhere = Checkpoint(None, "key", 0)
    nowhere.save(lambda: {"done": np.array(1)}, done=True)
    assert not nowhere.saves and nowhere.load() is None
