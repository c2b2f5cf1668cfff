"""Partitions of a source into shards: every record gets a row, whatever its file contains."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import drawn_faces, encoded, write
from unveil.channels import Channel, FaceChannel, FaceImage
from unveil.channels.alignment import ImageAlignment
from unveil.embedding import pipeline
from unveil.embedding.embed import embed_source
from unveil.embedding.pipeline import (
    EmbeddedPartition,
    ImagePreprocessor,
    PipelineSizes,
    embed_images,
    embed_partitions,
)
from unveil.embedding.shards import ShardStore
from unveil.engine import map_ordered
from unveil.errors import ImageError, ModelError, SourceError
from unveil.faces.detectors import DlibDetector, with_border
from unveil.faces.versions import library_versions
from unveil.images import Remark, Source, decode_rgb, decode_scaled, open_source
from unveil.io.storage import LocalStorage
from unveil.io.trust import StoreKey
from unveil.types import ImageRecord, Vectors


class Brightness(Channel):
    """A channel whose vector depends on the brightness of an image; black images have none."""

    name, dimension, model_id, batch = "brightness", 2, "brightness-1", 2

    def crop(self, image: FaceImage) -> np.ndarray:
        return image.pixels[:16, :16]

    def embed(self, crops: np.ndarray) -> Vectors:
        angle = crops.mean((1, 2, 3)) / 255
        vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        vectors[angle == 0] = 0
        return vectors


class Contrast(Brightness):
    """A second channel, which embeds no small images."""

    name, model_id = "contrast", "contrast-1"

    def crop(self, image: FaceImage) -> np.ndarray:
        if image.pixels.shape[0] < 50:
            raise ImageError("detect", "too small", "")
        return super().crop(image)


def preprocessor(*channels: Channel) -> ImagePreprocessor:
    return ImagePreprocessor(channels or [Brightness()], ImageAlignment(None, ""), DlibDetector())


def open_store(path: Path) -> ShardStore:
    return ShardStore(LocalStorage(path), "r")


def embed_all(
    source: Source, store: ShardStore, sizes: PipelineSizes | None = None, advanced: list[int] | None = None
) -> EmbeddedPartition:
    """The whole source as one partition."""
    advance = (lambda _: None) if advanced is None else advanced.append
    (found,) = embed_partitions(source, [source.records], preprocessor(), [store], 2, sizes=sizes, advance=advance)
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
    store = open_store(tmp_path / "store")
    found = embed_all(open_source(folder), store)
    assert [(r.stage, r.reason) for r in found.rows[0]] == [
        (None, ""),
        ("embed", "no usable vector"),
        ("decode", "empty file"),
        ("read", "unreadable file"),
        (None, ""),
    ]
    assert store.require(found.keys[0]).vectors.shape == (2, 2) and found.recipes == (store.recipe,)
    assert not found.reused and embed_all(open_source(folder), store).reused


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 32])
def test_progress_counts_every_record_once(folder: Path, tmp_path: Path, chunk: int) -> None:
    store = open_store(tmp_path / "store")
    for reused in (False, True):
        advanced: list[int] = []
        sizes = PipelineSizes(min_images_per_chunk=chunk)
        assert embed_all(open_source(folder), store, sizes, advanced).reused == reused
        assert sum(advanced) == 5 and min(advanced) >= 0


def test_unreadable_files_leave_no_name_in_the_store_and_do_not_change_the_shard(folder: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    before = embed_all(open_source(folder), store)
    assert b"d.png" not in b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*.json"))
    (folder / "d.png").unlink()
    (folder / "other.png").symlink_to("gone.png")
    after = embed_all(open_source(folder), store)
    assert after.reused and after.keys == before.keys
    assert "other.png" in after.rows[0][-1].detail


def test_images_that_do_not_fit_into_memory_are_read_again(folder: Path, tmp_path: Path) -> None:
    in_memory = embed_all(open_source(folder), open_store(tmp_path / "a"))
    read_again = embed_all(open_source(folder), open_store(tmp_path / "b"), PipelineSizes(queue_bytes=100))
    assert read_again == in_memory


def test_an_image_that_changes_while_it_is_read_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(folder)
    read, already_read = source.read, set[str]()

    def changing(record: ImageRecord) -> bytes:
        data = read(record)
        changed = data + b" " if record.id in already_read else data
        already_read.add(record.id)
        return changed

    monkeypatch.setattr(source, "read", changing)
    with pytest.raises(SourceError, match="changed while it was being read"):
        embed_all(source, open_store(tmp_path / "store"), PipelineSizes(queue_bytes=0))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("chunk", [2, 3, 32])
def test_the_division_of_the_work_changes_no_vector(tmp_path: Path, workers: int, chunk: int) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (23, 20, 20, 3), np.uint8)
    faces[5] = 0
    for i, face in enumerate(faces):
        write(tmp_path / f"in/{i:02}.png", encoded(face) if i % 7 else b"not an image")
    source, store = open_source(tmp_path / "in"), open_store(tmp_path / "store")
    parts = [source.records[i : i + 6] for i in range(0, 23, 6)]
    sizes = PipelineSizes(min_images_per_chunk=chunk)
    found = list(embed_partitions(source, parts, preprocessor(), [store], workers, sizes=sizes))
    rows = [row for part in found for row in part.rows[0]]
    vectors = np.concatenate([store.require(part.keys[0]).vectors for part in found])
    assert [row.stage for row in rows] == [
        "decode" if i % 7 == 0 else "embed" if i == 5 else None for i in range(len(rows))
    ]
    crops = [face[:16, :16] for i, face in enumerate(faces) if i % 7 and i != 5]
    assert np.array_equal(vectors, np.concatenate([Brightness().embed(np.stack([crop])) for crop in crops]))


class Prepared(Brightness):
    """Notes the images that it is given at once."""

    model_id = "prepared-1"

    def __init__(self) -> None:
        self.groups: list[list[FaceImage]] = []

    def prepare(self, images: Sequence[FaceImage]) -> None:
        self.groups.append(list(images))


@pytest.mark.parametrize("limit", ["images", "bytes"])
def test_few_decoded_images_are_held_at_a_time(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [FaceImage(face, aligned=True) for face in np.full((7, 20, 20, 3), 9, np.uint8)]
    if limit == "images":
        monkeypatch.setattr(pipeline, "MAX_DECODED", 3)
    else:
        monkeypatch.setattr(pipeline, "MAX_DECODED_BYTES", 2 * images[0].pixels.nbytes + 1)
    channel = Prepared()
    rows, (vectors,) = embed_images([partial(lambda i: i, image) for image in images], [channel])
    assert channel.groups == [images[:3], images[3:6], images[6:]]
    assert len(rows) == len(vectors) == 7


def test_faces_that_are_located_at_once_are_those_that_are_located_alone() -> None:
    faces = drawn_faces(5)
    crops = [faces[0], faces[1][:40], faces[2], np.zeros((64, 64, 3), np.uint8), np.repeat(faces[3], 3, axis=0)]
    crops += [np.ascontiguousarray(np.kron(faces[4], np.ones((3, 3, 1), np.uint8)))]

    def damaged() -> FaceImage:
        raise ImageError("decode", "damaged image", "")

    def decoders() -> list[Callable[[], FaceImage]]:
        return [damaged, *(partial(FaceImage, crop, True) for crop in crops)]

    channel = FaceChannel()
    rows, (vectors,) = embed_images(decoders(), [channel])
    alone = [embed_images([decode], [channel]) for decode in decoders()]
    assert [row.stage for row in rows] == ["decode", None, "detect", None, "detect", "detect", None]
    assert list(rows) == [row for found, _ in alone for row in found]
    assert np.array_equal(vectors, np.concatenate([part for _, (part,) in alone]))


def test_finished_shards_remain_when_the_rest_is_abandoned(folder: Path, tmp_path: Path) -> None:
    """As after a kill: complete shards, and no thread that continues."""
    source, store = open_source(folder), open_store(tmp_path / "store")
    parts = [[record] for record in source.records]
    embedding = embed_partitions(source, parts, preprocessor(), [store], 2)
    first = next(embedding)
    embedding.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("unveil")]
    again = list(embed_partitions(source, parts, preprocessor(), [store], 2))
    assert again[0].reused and again[0].keys == first.keys and again[0].rows == first.rows


def test_an_error_of_a_channel_ends_the_work(folder: Path, tmp_path: Path) -> None:
    class Broken(Brightness):
        def embed(self, crops: np.ndarray) -> Vectors:
            raise ModelError("does not run")

    source = open_source(folder)
    parts = [[record] for record in [*source.records] * 50]
    with pytest.raises(ModelError, match="does not run"):
        list(embed_partitions(source, parts, preprocessor(Broken()), [open_store(tmp_path / "store")], 2))
    assert not list((tmp_path / "store").rglob("*.npy"))
    assert not [t for t in threading.enumerate() if t.name.startswith("unveil")]


def test_large_jpegs_are_decoded_at_reduced_scale_if_the_face_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    face = drawn_faces(1, seed=4)[0]
    near = np.asarray(Image.fromarray(with_border(face, 40)).resize((1400, 1400)))
    far = np.full((1400, 1400, 3), 128, np.uint8)
    far[500:900, 500:900] = np.asarray(Image.fromarray(with_border(face, 52)).resize((400, 400)))
    decoded_full: list[int] = []

    def decode(data: bytes) -> np.ndarray:
        decoded_full.append(len(data))
        return decode_rgb(data)

    monkeypatch.setattr(pipeline, "decode_rgb", decode)
    photographs = ImagePreprocessor([], ImageAlignment(frozenset(), ""), DlibDetector())
    image = photographs.decode(encoded(near, "JPEG", quality=95))
    assert image.pixels.shape == (700, 700, 3) and image.size == (1400, 1400)
    reduced = image.aligned_crop
    assert not decoded_full, "a large face needs no second decoding"
    full = FaceImage(near, aligned=False).aligned_crop
    assert np.abs(reduced.astype(int) - full).mean() < 6
    image = photographs.decode(encoded(far, "JPEG", quality=95))
    assert image.face.size > 112 and decoded_full and image.pixels.shape == (1400, 1400, 3)
    assert photographs.decode(encoded(near)).pixels.shape == (1400, 1400, 3), "a PNG has one scale only"
    crop = ImagePreprocessor([], ImageAlignment(None, ""), DlibDetector()).decode(encoded(near, "JPEG"))
    assert crop.pixels.shape == (350, 350, 3)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    free = threading.Semaphore(workers)
    assert list(map_ordered(_with_semaphore(free), range(50), workers)) == [n * n for n in range(50)]


def _with_semaphore(free: threading.Semaphore) -> Callable[[int], int]:
    def square(n: int) -> int:
        assert free.acquire(blocking=False), "more items at a time than workers"
        threading.Event().wait(0.001)
        free.release()
        return n * n

    return square


def test_an_error_stops_the_other_items() -> None:
    stop = threading.Event()

    def fail(n: int) -> int:
        if n == 3:
            raise ValueError(n)
        return n

    with pytest.raises(ValueError, match="3"):
        list(map_ordered(fail, range(100), 2, stop))
    assert stop.is_set()


def test_channels_share_the_decoding_and_have_shards_of_their_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "f.png", encoded(np.full((30, 30, 3), 80, np.uint8)))
    decoded: list[int] = []

    def decode(
        data: bytes, min_side: Callable[[int, int], int]
    ) -> tuple[np.ndarray, tuple[int, int], tuple[Remark, ...]]:
        decoded.append(len(data))
        return decode_scaled(data, min_side)

    monkeypatch.setattr(pipeline, "decode_scaled", decode)
    stores = [ShardStore(LocalStorage(tmp_path / "store"), name) for name in ("first", "second")]
    source = open_source(folder)

    def both() -> EmbeddedPartition:
        channels = preprocessor(Brightness(), Contrast())
        (found,) = embed_partitions(source, [source.records], channels, stores, 2)
        return found

    first = embed_all(source, stores[0])
    assert len(decoded) == 5
    # Only the shard of the second channel is missing: the images are decoded once more, and not the next time.
    found = both()
    assert len(decoded) == 10 and not found.reused and found.keys[0] == first.keys[0]
    assert both().reused and len(decoded) == 10
    assert [row.reason for row in found.rows[0]][-1] == "" and found.rows[1][-1].reason == "too small"


def test_an_image_that_one_channel_rejects_is_a_reject(folder: Path, tmp_path: Path) -> None:
    write(folder / "f.png", encoded(np.full((30, 30, 3), 80, np.uint8)))
    found = embed_source(
        open_source(folder),
        preprocessor(Brightness(), Contrast()),
        LocalStorage(tmp_path / "store"),
        [tmp_path / "a.npy", tmp_path / "b.npy"],
    )
    embedded = found.embedded
    assert embedded.ids == ("a.png", "e.png") and embedded.channels == ("face", "contrast")
    assert {r.id: r.reason for r in found.rejects}["f.png"] == "too small"
    assert embedded.through("contrast").vectors.shape == embedded.vectors.shape == (2, 2)
    assert np.array_equal(embedded.vectors, embedded.through("contrast").vectors)


def test_a_recipe_names_the_model_the_alignment_the_detector_the_device_and_the_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OtherDetector(DlibDetector):
        key, runtime = "other", "onnxruntime 1.0"

    class OtherRuntime(OtherDetector):
        runtime = "onnxruntime 2.0"

    class OnGpu(Brightness):
        runtime = "onnxruntime 1.0 CUDAExecutionProvider"

    class OtherModel(Brightness):
        model_id = "brightness-2"

    detected = replace(preprocessor(), alignment=ImageAlignment(frozenset(), ""))
    variants = {
        "as it is": (preprocessor(), Brightness()),
        "other model": (preprocessor(), OtherModel()),
        "other device": (preprocessor(), OnGpu()),
        "other alignment": (detected, Brightness()),
        "other detector": (replace(detected, detector=OtherDetector()), Brightness()),
        "other version of its runtime": (replace(detected, detector=OtherRuntime()), Brightness()),
    }
    recipes = {name: prepared.recipe(channel) for name, (prepared, channel) in variants.items()}
    assert len(set(recipes.values())) == len(variants)
    assert preprocessor().configuration(Brightness()) == preprocessor().configuration(OnGpu())
    # The detector decides nothing in aligned crops, and the reason of an alignment decides nothing at all.
    assert replace(preprocessor(), detector=OtherDetector()).recipe(Brightness()) == recipes["as it is"]
    assert replace(preprocessor(), alignment=ImageAlignment(None, "why")).recipe(Brightness()) == recipes["as it is"]
    for module in ("cv2", "PIL"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", "0.0")
            library_versions.cache_clear()
            assert preprocessor().recipe(Brightness()) != recipes["as it is"], module
    library_versions.cache_clear()
    assert preprocessor().recipe(Brightness()) == recipes["as it is"]


def test_embeddings_of_another_user_are_embedded_again_with_one_note(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors that somebody replaced, in a store that came with the images."""
    source, store, theirs = open_source(folder), tmp_path / "store", StoreKey(b"another user")

    def embedded(key: StoreKey, channel: Brightness | None = None) -> Vectors:
        caplog.clear()
        storage = LocalStorage(store, key)
        return embed_source(
            source, preprocessor(channel or Brightness()), storage, [tmp_path / "v.npy"]
        ).embedded.vectors

    class Forged(Brightness):
        def embed(self, crops: np.ndarray) -> Vectors:
            return super().embed(crops)[:, ::-1]

    forged = np.array(embedded(theirs, Forged()))
    trusted = np.array(embedded(StoreKey.own(trusts_others=True)))
    assert np.array_equal(trusted, forged) and not caplog.records
    ours = np.array(embedded(StoreKey.own()))
    assert np.array_equal(ours, forged[:, ::-1]) and not np.array_equal(ours, forged)
    notes = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(notes) == 1 and "1 of 1 shards" in notes[0] and "--trust-store" in notes[0]
    assert np.array_equal(embedded(StoreKey.own()), ours) and not caplog.records


def test_vectors_of_another_device_are_not_reused(folder: Path, tmp_path: Path) -> None:
    class OnGpu(Brightness):
        runtime = "onnxruntime 1.0 CUDAExecutionProvider"

        def embed(self, crops: np.ndarray) -> Vectors:
            return super().embed(crops)[:, ::-1]

    source, storage = open_source(folder), LocalStorage(tmp_path / "store")
    on_cpu, on_gpu, again = (
        embed_source(source, preprocessor(channel), storage, [tmp_path / f"{i}.npy"]).embedded
        for i, channel in enumerate((Brightness(), OnGpu(), Brightness()))
    )
    assert np.array_equal(on_gpu.vectors, on_cpu.vectors[:, ::-1]) and np.array_equal(again.vectors, on_cpu.vectors)
    # Comparisons that were begun with other vectors are not resumed.
    assert on_cpu.fingerprint == again.fingerprint != on_gpu.fingerprint
