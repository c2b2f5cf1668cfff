"""A partition of a source into a shard: every record a row, whatever its file does."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from tests.builders import drawn_faces, encoded, write
from unveil import work
from unveil.channels import Shot
from unveil.channels.alignment import Alignment
from unveil.engine import map_ordered
from unveil.errors import PictureError, SourceError
from unveil.images import Source, decode_rgb, open_source
from unveil.steps import embed
from unveil.store import ShardStore
from unveil.types import Vectors


class Brightness:
    """A channel whose vector says how bright a picture is; black pictures give none."""

    name, dimension, model_id = "brightness", 2, "brightness-1"

    def crop(self, shot: Shot) -> np.ndarray:
        return shot.picture[:16, :16]

    def embed(self, crops: np.ndarray) -> Vectors:
        angle = crops.mean((1, 2, 3)) / 255
        vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        vectors[angle == 0] = 0
        return vectors


def partition(
    source: Source, store: ShardStore, stop: threading.Event | None = None, ticks: list[int] | None = None
) -> work.Partition:
    return work.embed_partition(
        source,
        source.records,
        channels=[Brightness()],
        alignment=Alignment(None, ""),
        stores=[store],
        stop=stop or threading.Event(),
        advance=(lambda _: None) if ticks is None else ticks.append,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    faces = drawn_faces(3)
    write(tmp_path / "in/a.png", encoded(faces[0]))
    write(tmp_path / "in/b.png", encoded(np.zeros((20, 20, 3), np.uint8)))
    write(tmp_path / "in/c.png", b"")
    write(tmp_path / "in/e.png", encoded(faces[1]))
    (tmp_path / "in/d.png").symlink_to("gone.png")
    return tmp_path / "in"


def test_every_record_has_its_row(folder: Path, tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "store", "r")
    found = partition(open_source(folder), store)
    assert [(r.stage, r.reason) for r in found.rows[0]] == [
        (None, ""),
        ("embed", "no usable vector"),
        ("decode", "empty file"),
        ("read", "unreadable file"),
        (None, ""),
    ]
    assert store.require(found.keys[0]).vectors.shape == (2, 2)
    assert not found.reused and partition(open_source(folder), store).reused


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 32])
def test_progress_counts_every_record_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(work, "BATCH", batch)
    for _ in ("anew", "from the store"):
        ticks: list[int] = []
        partition(open_source(folder), ShardStore(tmp_path / "store", "r"), ticks=ticks)
        assert sum(ticks) == 5 and min(ticks) >= 0


def test_unreadable_files_leave_no_name_in_the_store_and_do_not_change_the_shard(folder: Path, tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "store", "r")
    before = partition(open_source(folder), store)
    assert b"d.png" not in b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*.json"))
    (folder / "d.png").unlink()
    (folder / "other.png").symlink_to("gone.png")
    after = partition(open_source(folder), store)
    assert after.reused and after.keys == before.keys
    assert "other.png" in after.rows[0][-1].detail


def test_pictures_that_do_not_fit_in_memory_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = partition(open_source(folder), ShardStore(tmp_path / "a", "r"))
    monkeypatch.setattr(work, "KEPT_BYTES", 100)
    assert partition(open_source(folder), ShardStore(tmp_path / "b", "r")) == whole


def test_a_picture_that_changes_meanwhile_ends_the_audit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "KEPT_BYTES", 0)
    source = open_source(folder)
    read, seen = source.read, set[str]()

    def changing(record: object) -> bytes:
        data = read(record)  # type: ignore[arg-type]
        again = str(record) in seen
        seen.add(str(record))
        return data + b" " if again else data

    monkeypatch.setattr(source, "read", changing)
    with pytest.raises(SourceError, match="changed while it was being read"):
        partition(source, ShardStore(tmp_path / "store", "r"))


def test_a_stopped_partition_writes_nothing(folder: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        partition(open_source(folder), ShardStore(tmp_path / "store", "r"), stop)
    assert not list((tmp_path / "store").rglob("*.npy"))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    running = threading.Semaphore(workers)

    def square(n: int) -> int:
        assert running.acquire(blocking=False), "more at work than there are workers"
        running.release()
        return n * n

    assert list(map_ordered(square, range(50), workers)) == [n * n for n in range(50)]


def test_an_error_stops_the_others() -> None:
    stop = threading.Event()

    def fail(n: int) -> int:
        if n == 3:
            raise ValueError(n)
        return n

    with pytest.raises(ValueError, match="3"):
        list(map_ordered(fail, range(100), 2, stop))
    assert stop.is_set()


class Contrast(Brightness):
    """A second channel, which cannot see small pictures."""

    name, model_id = "contrast", "contrast-1"

    def crop(self, shot: Shot) -> np.ndarray:
        if shot.picture.shape[0] < 50:
            raise PictureError("detect", "too small to see", "")
        return super().crop(shot)


def test_channels_share_one_look_and_keep_their_own_shards(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "f.png", encoded(np.full((30, 30, 3), 80, np.uint8)))
    decoded: list[int] = []

    def decode(data: bytes) -> np.ndarray:
        decoded.append(len(data))
        return decode_rgb(data)

    monkeypatch.setattr(work, "decode_rgb", decode)
    stores = [ShardStore(tmp_path / "store", name) for name in ("first", "second")]
    source = open_source(folder)

    def both() -> work.Partition:
        return work.embed_partition(
            *(source, source.records),
            channels=[Brightness(), Contrast()],
            alignment=Alignment(None, ""),
            stores=stores,
            stop=threading.Event(),
            advance=lambda _: None,
        )

    first = partition(source, stores[0])
    assert len(decoded) == 5
    # Only the second channel's shard is missing: one look more, and none the next time.
    found = both()
    assert len(decoded) == 10 and not found.reused and found.keys[0] == first.keys[0]
    assert both().reused and len(decoded) == 10
    assert [row.reason for row in found.rows[0]][-1] == "" and found.rows[1][-1].reason == "too small to see"
    together = embed.embed_source(
        *(source, [Brightness(), Contrast()], tmp_path / "store2"),
        [tmp_path / "a.npy", tmp_path / "b.npy"],
        Alignment(None, ""),
    )
    # What one channel rejects is a reject of all, and rows stay together.
    assert together.embedded.ids == ("a.png", "e.png") and together.embedded.channels == ("face", "contrast")
    assert {r.id: r.reason for r in together.rejects}["f.png"] == "too small to see"
    assert together.embedded.through("contrast").vectors.shape == together.embedded.vectors.shape == (2, 2)
    assert np.array_equal(together.embedded.vectors, together.embedded.through("contrast").vectors)
