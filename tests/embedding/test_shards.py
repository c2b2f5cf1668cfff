"""Shards: keyed by content, whole or not there, the same bytes from whoever writes them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.builders import unit_rows
from unveil.embedding.shards import ShardRow, ShardStore, write_vectors
from unveil.errors import StoreError
from unveil.io.atomic import remove_stale_temp, replacing
from unveil.io.checksums import sealed
from unveil.io.storage import LocalStorage
from unveil.io.trust import StoreKey
from unveil.types import Vectors

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


OTHER_KEY = StoreKey(b"another user")


def test_embeddings_of_another_user_are_not_used_unless_they_are_trusted(tmp_path: Path) -> None:
    theirs, ours = (ShardStore(LocalStorage(tmp_path, key), "recipe") for key in (OTHER_KEY, None))
    key = theirs.put(ROWS, -VECTORS).key
    assert ours.get(key) is None and ours.others == {key}
    with pytest.raises(StoreError, match="--trust-store"):
        ours.require(key)
    trusting = ShardStore(LocalStorage(tmp_path, StoreKey.own(trusts_others=True)), "recipe")
    assert np.array_equal(trusting.require(key).vectors, -VECTORS) and not trusting.others
    ours.put(ROWS, VECTORS)
    again = ShardStore(LocalStorage(tmp_path), "recipe")
    assert np.array_equal(again.require(key).vectors, VECTORS) and not again.others


@pytest.mark.parametrize("forged", ["no seal", "its own key", "a seal of other vectors"])
def test_a_recomputed_checksum_is_no_seal(forged: str, tmp_path: Path) -> None:
    store = ShardStore(LocalStorage(tmp_path), "recipe")
    key = store.put(ROWS, VECTORS).key
    (vectors,), (rows,) = tmp_path.rglob("*.npy"), tmp_path.rglob("*.json")
    np.save(vectors, -VECTORS)
    document = json.loads(rows.read_text())
    seal = document.pop("seal")
    document.pop("sha256")
    document = sealed({**document, "vectors_sha256": hashlib.sha256(vectors.read_bytes()).hexdigest()})
    if forged != "no seal":
        document["seal"] = seal if "other vectors" in forged else OTHER_KEY.seal(f"shard {key} {document['sha256']}")
    rows.write_text(json.dumps(document))
    assert store.get(key) is None and store.others == {key}
    trusting = ShardStore(LocalStorage(tmp_path, StoreKey.own(trusts_others=True)), "recipe")
    assert np.array_equal(trusting.require(key).vectors, -VECTORS)


@pytest.mark.parametrize("vectors", [VECTORS[:, :4], np.tile(VECTORS, 2), np.tile(VECTORS, 3), VECTORS * np.nan])
def test_trusted_vectors_of_another_width_or_without_numbers_are_damaged(vectors: Vectors, tmp_path: Path) -> None:
    key = ShardStore(LocalStorage(tmp_path, OTHER_KEY), "recipe").put(ROWS, vectors).key
    trusting = ShardStore(LocalStorage(tmp_path, StoreKey.own(trusts_others=True)), "recipe", VECTORS.shape[1])
    assert trusting.get(key) is None and not trusting.others


def test_a_key_of_a_store_signs_nothing_else_and_is_in_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "key"))
    key = StoreKey.own()
    assert key == StoreKey.own() and key.secret != (tmp_path / "key").read_bytes()
    assert repr(key.secret) not in repr(key)
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "file/key"))
    assert StoreKey.own() == StoreKey.own() != key, "without a file, the key lasts as long as the process"


@pytest.mark.parametrize("what", ["recipe", "part", "rows", "vectors", "README"])
def test_links_in_a_store_are_refused_and_lead_nowhere(what: str, tmp_path: Path) -> None:
    """A store of a stranger may hold links to folders of the user."""
    folder, outside = tmp_path / "store", tmp_path / "outside"
    key = ShardStore(LocalStorage(folder), "recipe").put(ROWS, VECTORS).key
    (outside / "ab").mkdir(parents=True)
    for file in (".notes.tmp", f"ab/.{'0' * 64}.npy.abcdefgh.tmp"):
        (outside / file).write_text("mine")
        os.utime(outside / file, (1, 1))
    (rows,), (vectors,) = folder.rglob("*.json"), folder.rglob("*.npy")
    place = {
        **{"recipe": rows.parent.parent, "part": rows.parent, "rows": rows, "vectors": vectors},
        **{"README": folder / "README.txt"},
    }[what]
    place.rename(tmp_path / "moved")
    place.symlink_to(outside)
    before = all_bytes(outside)
    with pytest.raises(StoreError, match="found a link, which is not followed"):
        ShardStore(LocalStorage(folder), "recipe").require(key)
    if what in ("recipe", "part"):
        with pytest.raises(StoreError, match="found a link"):
            ShardStore(LocalStorage(folder), "recipe").put(ROWS, VECTORS)
    assert all_bytes(outside) == before and len(before) == 2


@pytest.mark.parametrize("what", ["json", "npy", "txt"])
def test_pipes_in_a_store_are_refused_without_waiting(what: str, tmp_path: Path) -> None:
    key = ShardStore(LocalStorage(tmp_path), "recipe").put(ROWS, VECTORS).key
    (file,) = tmp_path.rglob(f"*.{what}")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StoreError, match="expected a readable file of the store"):
        ShardStore(LocalStorage(tmp_path), "recipe").require(key)


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
    for dimension in (4, 10):
        with pytest.raises(StoreError, match=f"vectors of {dimension} values were expected"):
            write_vectors(iter(parts), 7, dimension, tmp_path / "w.npy")
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
