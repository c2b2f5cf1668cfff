"""Shards: keyed by content, whole or not there, the same bytes from whoever writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders import unit_rows
from unveil.embedding.shards import ShardRow, ShardStore, write_vectors
from unveil.errors import StoreError
from unveil.io.atomic import remove_stale_temp, replacing
from unveil.io.storage import LocalStorage

ROWS = [ShardRow("d0"), ShardRow("d1", "decode", "truncated", "x"), ShardRow("d2")]
VECTORS = unit_rows(np.random.default_rng(0), 2, 8)


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_put_is_got_and_has_the_same_bytes_anywhere(tmp_path: Path) -> None:
    stores = [ShardStore(LocalStorage(tmp_path / name), "recipe") for name in ("a", "b")]
    shards = [store.put(ROWS, VECTORS) for store in stores]
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")
    again = stores[0].get(shards[0].key)
    assert again is not None and again.rows == tuple(ROWS) and np.array_equal(again.vectors, VECTORS)
    assert stores[0].key(["d0", "d1", "d2"]) == shards[0].key
    assert (
        len(
            {
                s.key(d)
                for s in (stores[0], ShardStore(LocalStorage(tmp_path), "other"))
                for d in (["d0"], ["d1"], ["d0", "d1"])
            }
        )
        == 6
    )


@pytest.mark.parametrize(
    "damage", ["vectors cut", "vectors changed", "rows cut", "rows gone", "vectors gone", "rows odd"]
)
def test_a_damaged_shard_is_not_there(tmp_path: Path, damage: str) -> None:
    store = ShardStore(LocalStorage(tmp_path), "recipe")
    key = store.put(ROWS, VECTORS).key
    (vectors,), (rows,) = tmp_path.rglob("*.npy"), tmp_path.rglob("*.json")
    target = vectors if damage.startswith("vectors") else rows
    data = target.read_bytes()
    if damage.endswith("cut"):
        target.write_bytes(data[:-9])
    elif damage.endswith("changed"):
        target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage.endswith("odd"):
        target.write_bytes(b'{"rows": 3}')
    else:
        target.unlink()
    assert store.get(key) is None
    with pytest.raises(StoreError, match="run again"):
        store.require(key)
    store.put(ROWS, VECTORS)
    assert store.get(key) is not None


@pytest.mark.parametrize("old", ['"d1"', '"truncated"', "null", ", 1]"])
def test_a_changed_row_is_noticed(old: str, tmp_path: Path) -> None:
    store = ShardStore(LocalStorage(tmp_path), "recipe")
    key = store.put(ROWS, VECTORS).key
    (rows,) = tmp_path.rglob("*.json")
    text = rows.read_text()
    rows.write_text(text.replace(old, {"null": '"decode"', ", 1]": ", 2]"}.get(old, '"d9"'), 1))
    assert rows.read_text() != text and store.get(key) is None


def test_a_shard_under_the_name_of_another_is_not_there(tmp_path: Path) -> None:
    store = ShardStore(LocalStorage(tmp_path), "recipe")
    keys = [store.put(rows, VECTORS).key for rows in (ROWS, ROWS[::-1])]
    for suffix in ("npy", "json"):
        first, second = (next(tmp_path.rglob(f"{key}.{suffix}")) for key in keys)
        first.write_bytes(second.read_bytes())
    assert store.get(keys[0]) is None and store.get(keys[1]) is not None


def test_rows_and_vectors_must_agree(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="2 images are marked"):
        ShardStore(LocalStorage(tmp_path), "recipe").put(ROWS, VECTORS[:1])


def test_shards_name_no_file_and_no_person(tmp_path: Path) -> None:
    ShardStore(LocalStorage(tmp_path), "recipe").put(ROWS, VECTORS)
    (rows,) = tmp_path.rglob("*.json")
    assert b"person" not in rows.read_bytes()
    assert (tmp_path / "README.txt").read_text().startswith("Embeddings made by unveil")


def test_assembled_vectors_are_one_mapped_array(tmp_path: Path) -> None:
    parts = [unit_rows(np.random.default_rng(i), n, 5) for i, n in enumerate((3, 0, 4))]
    mapped = write_vectors(iter(parts), 7, 5, tmp_path / "v.npy")
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, np.concatenate(parts))
    assert write_vectors(iter([]), 0, 5, tmp_path / "none.npy").shape == (0, 5)
    with pytest.raises(StoreError, match="8 vectors were expected, got 7"):
        write_vectors(iter(parts), 8, 5, tmp_path / "w.npy")
    assert not (tmp_path / "w.npy").exists() and not list(tmp_path.glob(".*"))


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half of the new")
            assert path.read_bytes() == b"old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.x.npy.abc.tmp").write_bytes(b"half")
    (tmp_path / "a/x.npy").write_bytes(b"whole")
    remove_stale_temp(tmp_path, older_than=3600)
    assert len(list((tmp_path / "a").iterdir())) == 2
    remove_stale_temp(tmp_path)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.npy"]
