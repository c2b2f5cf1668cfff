"""Large data as mappings: what is unpacked on disk equals what is unpacked in memory."""

from __future__ import annotations

import mmap
import shutil
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unveil.errors import DiskFullError, SourceError
from unveil.images import EmbeddingSource, open_source
from unveil.io.mapping import crc32_of, filled, map_file, unpack_blocks


@pytest.mark.parametrize("in_memory", [1, 10, 1000])
@pytest.mark.parametrize("limit", [0, 7, 35, 1000])
def test_blocks_are_the_same_in_memory_and_in_a_file(in_memory: int, limit: int) -> None:
    blocks = [bytes([i]) * 7 for i in range(5)]
    found = unpack_blocks(iter(blocks), limit, in_memory)
    assert bytes(found) == b"".join(blocks)[:limit] and found.readonly
    assert isinstance(found.obj, mmap.mmap) == (min(limit, 35) >= in_memory)


@pytest.mark.parametrize("in_memory", [16, 1000])
@pytest.mark.parametrize("shape", [(0, 3), (7,), (5, 3)])
def test_arrays_of_one_value(shape: tuple[int, ...], in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.io.mapping.IN_MEMORY", in_memory)
    array = filled(shape, -np.inf, np.float64)
    assert array.shape == shape and array.dtype == np.float64 and (array == -np.inf).all()
    array[:] = 3
    assert array.sum() == 3 * array.size and array.flags.aligned


def test_a_full_disk_is_told_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30))
    with pytest.raises(DiskFullError, match="set TMPDIR"):
        unpack_blocks([b"x" * 20], 100, 1)
    monkeypatch.setattr("unveil.io.mapping.IN_MEMORY", 16)
    with pytest.raises(DiskFullError, match="set TMPDIR"):
        filled((20,), 0, np.float64)


def test_checksum_of_a_mapped_file(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "file").write_bytes(data)
    assert crc32_of(map_file(tmp_path / "file")) == zlib.crc32(data)


def peak_of(path: Path) -> tuple[EmbeddingSource, int]:
    """The source, and the bytes of Python and NumPy at most while it was opened."""
    open_source(f"embeddings:{path}")  # its modules take memory too
    tracemalloc.start()
    try:
        source = open_source(f"embeddings:{path}")
        assert isinstance(source, EmbeddingSource)
        return source, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["stored.npz", "deflated.npz", "vectors.parquet"])
def test_large_vectors_are_not_held_in_memory(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.io.mapping.unpack_blocks.__defaults__", (2**20,))
    vectors = np.random.default_rng(0).normal(size=(3000, 2000)).astype(np.float32)  # 24 MB
    path = tmp_path / kind
    if kind == "stored.npz":
        np.savez(path, vectors=vectors)
    elif kind == "deflated.npz":
        np.savez_compressed(path, vectors=vectors)
    else:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 2000)
        pq.write_table(pa.table({"vectors": rows}), path, row_group_size=300)
    source, peak = peak_of(path)
    assert np.array_equal(source.vectors, vectors)
    assert peak < 12_000_000


def test_a_stored_member_with_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", vectors=np.ones((50, 30), np.float32))
    data = bytearray((tmp_path / "v.npz").read_bytes())
    data[1000] ^= 1
    (tmp_path / "v.npz").write_bytes(data)
    with pytest.raises(SourceError, match="CRC-32"):
        open_source(f"embeddings:{tmp_path / 'v.npz'}")
