"""Storage in a folder and at addresses, and the cache of what lies at addresses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unveil.errors import SettingError, StoreError
from unveil.io.atomic import write_bytes
from unveil.io.storage import Cache, LocalStorage, open_storage


def test_a_folder_and_an_address_store_alike(s3: str, tmp_path: Path) -> None:
    for storage in (open_storage(tmp_path / "here"), open_storage(f"{s3}/there"), open_storage("memory://u/v")):
        assert storage.read("x/y") is None and storage.names("x") == set()
        storage.write("x/y", b"1")
        storage.write("x/z/w", b"22")
        assert storage.read("x/y") == b"1" and storage.names("x") == {"x/y", "x/z/w"}
        storage.write("x/y", b"3")
        assert storage.read("x/y") == b"3"
        storage.remove("x")
        assert storage.read("x/y") is None and storage.names("x") == set()
    assert isinstance(open_storage(tmp_path), LocalStorage)
    with pytest.raises(StoreError, match="read-only"):
        open_storage("https://host/x")
    with pytest.raises(StoreError, match="Protocol not known"):
        open_storage("nonsense://x")


def test_a_missing_bucket_is_a_message(s3: str) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        open_storage("s3://nobody-made-this-bucket/x").write("a", b"1")


def test_leftovers_of_the_day_stay_and_older_ones_go(tmp_path: Path) -> None:
    storage, shard = LocalStorage(tmp_path), f".{'0' * 64}"
    new, old, folder = (f"{shard}.{end}.tmp" for end in ("npy.abcdefgh", "json.12345678", "npy.hgfedcba"))
    storage.write("shards/ab/file", b"1")
    (tmp_path / "shards/ab" / folder).mkdir()
    kept = {new, folder, ".notes.tmp", "file"}
    for name, age in ((new, 3600), (old, 2 * 86400), (".notes.tmp", 2 * 86400), (folder, 2 * 86400)):
        place = tmp_path / "shards/ab" / name
        if name != folder:
            place.write_bytes(b"1")
        then = place.stat().st_mtime - age
        os.utime(place, (then, then))
    storage.remove_stale_temp("shards")
    assert {f.name for f in (tmp_path / "shards/ab").iterdir()} == kept, "only old files of shards should go"


def test_a_file_larger_than_its_limit_is_refused(s3: str, tmp_path: Path) -> None:
    for storage in (open_storage(tmp_path), open_storage(f"{s3}/limit")):
        storage.write("x/y", b"12345")
        assert storage.read("x/y", 5) == b"12345"
        with pytest.raises(StoreError, match="bytes"):
            storage.read("x/y", 4)


def test_a_link_in_a_storage_is_not_followed(tmp_path: Path) -> None:
    storage, outside = LocalStorage(tmp_path / "store"), tmp_path / "outside"
    write_bytes(outside / "below/file", b"mine")
    (tmp_path / "store/link").symlink_to(outside)
    for use in (storage.remove, storage.names, storage.read, lambda name: storage.write(name, b"1")):
        with pytest.raises(StoreError, match="found a link"):
            use("link/below")
    assert (outside / "below/file").read_bytes() == b"mine" and storage.names(".") == set()


def test_the_cache_stays_below_its_limit_and_checks_what_it_reads(tmp_path: Path) -> None:
    cache = Cache("s3://a", 10_000, tmp_path)
    mine = tmp_path / "mine" / "photo.jpg"  # in a folder that the user named with UNVEIL_CACHE
    write_bytes(mine, b"1" * 9_000)
    os.utime(mine, (0, 0))
    for i in range(100):
        cache.write(f"{i:03d}", bytes([i]) * 400)
        os.utime(next(tmp_path.rglob(f"{i:03d}")), (i, i))
        cache.read("000")
    assert mine.exists()
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file != mine]
    assert sum(file.stat().st_size for file in files) <= 10_000
    assert cache.read("099") == b"c" * 400 and cache.read("001") is None
    assert cache.read("000") == b"\0" * 400, "the most recently used file should stay"
    cache.write("large", b"x" * 9_000)
    assert cache.read("large") is None
    file = next(tmp_path.rglob("099"))
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"z"):
        file.write_bytes(damaged)
        assert cache.read("099") is None
    assert Cache("s3://b", 10_000, tmp_path).read("000") is None


def test_the_limit_of_the_cache_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNVEIL_CACHE_GB", "0")
    cache = Cache("s3://a", root=tmp_path)
    cache.write("a", b"1")
    assert cache.read("a") is None
    monkeypatch.setenv("UNVEIL_CACHE_GB", "much")
    with pytest.raises(SettingError, match="UNVEIL_CACHE_GB should be a number"):
        Cache("s3://a", root=tmp_path)


def test_a_file_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    """A disk that fails must not look like an empty store, which would be filled again."""
    storage = LocalStorage(tmp_path)
    assert storage.read("none") is None and storage.read("none/below") is None
    (tmp_path / "file").mkdir()
    with pytest.raises(StoreError, match="expected a readable file of the store"):
        storage.read("file")
