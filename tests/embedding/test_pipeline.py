"""A partition of a source into a shard: every record a row, whatever its file does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import drawn_faces, encoded, write
from unveil.channels import Channel, FaceImage
from unveil.channels.alignment import ImageAlignment
from unveil.embedding import embed
from unveil.embedding import pipeline as work
from unveil.embedding.shards import ShardStore
from unveil.engine import map_ordered
from unveil.errors import ImageError, ModelError, SourceError
from unveil.faces.detectors import DlibDetector, with_border
from unveil.images import Source, decode_rgb, decode_scaled, open_source
from unveil.io.storage import LocalStorage
from unveil.types import Vectors


class Brightness:
    """A channel whose vector says how bright a picture is; black pictures give none."""

    name, dimension, model_id, batch = "brightness", 2, "brightness-1", 2

    def crop(self, shot: FaceImage) -> np.ndarray:
        return shot.image[:16, :16]

    def embed(self, crops: np.ndarray) -> Vectors:
        angle = crops.mean((1, 2, 3)) / 255
        vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        vectors[angle == 0] = 0
        return vectors


def way(*channels: Channel) -> work.ImagePreprocessor:
    return work.ImagePreprocessor(channels or [Brightness()], ImageAlignment(None, ""), DlibDetector())


def partition(source: Source, store: ShardStore, ticks: list[int] | None = None) -> work.Partition:
    advance = (lambda _: None) if ticks is None else ticks.append
    (found,) = work.embed_partitions(source, [source.records], way(), [store], 2, advance)
    return found


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
    store = ShardStore(LocalStorage(tmp_path / "store"), "r")
    found = partition(open_source(folder), store)
    assert [(r.stage, r.reason) for r in found.rows[0]] == [
        (None, ""),
        ("embed", "no select_common vector"),
        ("decode", "empty file"),
        ("read", "unreadable file"),
        (None, ""),
    ]
    assert store.require(found.keys[0]).vectors.shape == (2, 2)
    assert not found.reused and partition(open_source(folder), store).reused


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 32])
def test_progress_counts_every_record_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(work, "PIECE", piece)
    for _ in ("anew", "from the store"):
        ticks: list[int] = []
        partition(open_source(folder), ShardStore(LocalStorage(tmp_path / "store"), "r"), ticks=ticks)
        assert sum(ticks) == 5 and min(ticks) >= 0


def test_unreadable_files_leave_no_name_in_the_store_and_do_not_change_the_shard(folder: Path, tmp_path: Path) -> None:
    store = ShardStore(LocalStorage(tmp_path / "store"), "r")
    before = partition(open_source(folder), store)
    assert b"d.png" not in b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*.json"))
    (folder / "d.png").unlink()
    (folder / "other.png").symlink_to("gone.png")
    after = partition(open_source(folder), store)
    assert after.reused and after.keys == before.keys
    assert "other.png" in after.rows[0][-1].detail


def test_images_that_do_not_fit_in_memory_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = partition(open_source(folder), ShardStore(LocalStorage(tmp_path / "a"), "r"))
    monkeypatch.setattr(work, "QUEUE_BYTES", 100)
    assert partition(open_source(folder), ShardStore(LocalStorage(tmp_path / "b"), "r")) == whole


def test_an_image_that_changes_meanwhile_ends_the_audit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "QUEUE_BYTES", 0)
    source = open_source(folder)
    read, seen = source.read, set[str]()

    def changing(record: object) -> bytes:
        data = read(record)  # type: ignore[arg-type]
        again = str(record) in seen
        seen.add(str(record))
        return data + b" " if again else data

    monkeypatch.setattr(source, "read", changing)
    with pytest.raises(SourceError, match="changed while it was being read"):
        partition(source, ShardStore(LocalStorage(tmp_path / "store"), "r"))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("piece", [2, 3, 32])
def test_nothing_depends_on_how_many_work_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, piece: int
) -> None:
    monkeypatch.setattr(work, "PIECE", piece)
    faces = np.random.default_rng(0).integers(0, 256, (23, 20, 20, 3), np.uint8)
    faces[5] = 0
    for i, face in enumerate(faces):
        write(tmp_path / f"in/{i:02}.png", encoded(face) if i % 7 else b"no image")
    source, store = open_source(tmp_path / "in"), ShardStore(LocalStorage(tmp_path / "store"), "r")
    parts = [source.records[i : i + 6] for i in range(0, 23, 6)]
    found = list(work.embed_partitions(source, parts, way(), [store], workers))
    rows = [row for part in found for row in part.rows[0]]
    vectors = np.concatenate([store.require(part.keys[0]).vectors for part in found])
    assert [row.stage for row in rows] == [
        "decode" if i % 7 == 0 else "embed" if i == 5 else None for i in range(len(rows))
    ]
    kept = [face[:16, :16] for i, face in enumerate(faces) if i % 7 and i != 5]
    assert np.array_equal(vectors, np.concatenate([Brightness().embed(np.stack([crop])) for crop in kept]))


def test_what_is_finished_stays_when_the_rest_is_abandoned(folder: Path, tmp_path: Path) -> None:
    """As a kill would leave it: whole shards, and no thread that goes on."""
    source, store = open_source(folder), ShardStore(LocalStorage(tmp_path / "store"), "r")
    parts = [[record] for record in source.records]
    several = work.embed_partitions(source, parts, way(), [store], 2)
    first = next(several)
    several.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("unveil")]
    again = list(work.embed_partitions(source, parts, way(), [store], 2))
    assert again[0].reused and again[0].keys == first.keys and again[0].rows == first.rows


def test_a_channel_that_fails_ends_the_work(folder: Path, tmp_path: Path) -> None:
    class Broken(Brightness):
        def embed(self, crops: np.ndarray) -> Vectors:
            raise ModelError("does not run")

    source = open_source(folder)
    parts = [[record] for record in source.records * 50]
    with pytest.raises(ModelError, match="does not run"):
        list(
            work.embed_partitions(source, parts, way(Broken()), [ShardStore(LocalStorage(tmp_path / "store"), "r")], 2)
        )
    assert not list((tmp_path / "store").rglob("*.npy"))
    assert not [t for t in threading.enumerate() if t.name.startswith("unveil")]


def test_large_jpegs_are_decoded_small_where_the_face_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    face = drawn_faces(1, seed=4)[0]
    near = np.asarray(Image.fromarray(with_border(face, 40)).resize((1400, 1400)))
    far = np.full((1400, 1400, 3), 128, np.uint8)
    far[500:900, 500:900] = np.asarray(Image.fromarray(with_border(face, 52)).resize((400, 400)))
    whole: list[int] = []

    def decode(data: bytes) -> np.ndarray:
        whole.append(len(data))
        return decode_rgb(data)

    monkeypatch.setattr(work, "decode_rgb", decode)
    seen = work.ImagePreprocessor([], ImageAlignment(frozenset(), ""), DlibDetector())
    shot = seen.decode(encoded(near, "JPEG", quality=95))
    assert shot.image.shape == (700, 700, 3) and shot.size == (1400, 1400)
    small = shot.aligned_crop
    assert not whole, "one decoding is enough for a large face"
    full = FaceImage(near, aligned=False).aligned_crop
    assert np.abs(small.astype(int) - full).mean() < 6
    shot = seen.decode(encoded(far, "JPEG", quality=95))
    assert shot.face.size > 112 and whole and shot.image.shape == (1400, 1400, 3)
    assert seen.decode(encoded(near)).image.shape == (1400, 1400, 3), "a PNG has one scale only"
    crop = work.ImagePreprocessor([], ImageAlignment(None, ""), DlibDetector()).decode(encoded(near, "JPEG"))
    assert crop.image.shape == (350, 350, 3)


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

    def crop(self, shot: FaceImage) -> np.ndarray:
        if shot.image.shape[0] < 50:
            raise ImageError("detect", "too small to see", "")
        return super().crop(shot)


def test_channels_share_one_look_and_keep_their_own_shards(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "f.png", encoded(np.full((30, 30, 3), 80, np.uint8)))
    decoded: list[int] = []

    def decode(data: bytes, at_least: Callable[[int, int], int]) -> tuple[np.ndarray, tuple[int, int]]:
        decoded.append(len(data))
        return decode_scaled(data, at_least)

    monkeypatch.setattr(work, "decode_scaled", decode)
    stores = [ShardStore(LocalStorage(tmp_path / "store"), name) for name in ("first", "second")]
    source = open_source(folder)

    def both() -> work.Partition:
        (found,) = work.embed_partitions(source, [source.records], way(Brightness(), Contrast()), stores, 2)
        return found

    first = partition(source, stores[0])
    assert len(decoded) == 5
    # Only the second channel's shard is missing: one look more, and none the next time.
    found = both()
    assert len(decoded) == 10 and not found.reused and found.keys[0] == first.keys[0]
    assert both().reused and len(decoded) == 10
    assert [row.reason for row in found.rows[0]][-1] == "" and found.rows[1][-1].reason == "too small to see"
    together = embed.embed_source(
        *(source, way(Brightness(), Contrast()), LocalStorage(tmp_path / "store2")),
        [tmp_path / "a.npy", tmp_path / "b.npy"],
    )
    # What one channel rejects is a reject of all, and rows stay together.
    assert together.embedded.ids == ("a.png", "e.png") and together.embedded.channels == ("face", "contrast")
    assert {r.id: r.reason for r in together.rejects}["f.png"] == "too small to see"
    assert together.embedded.through("contrast").vectors.shape == together.embedded.vectors.shape == (2, 2)
    assert np.array_equal(together.embedded.vectors, together.embedded.through("contrast").vectors)
