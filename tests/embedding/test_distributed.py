"""Embedding by workers, here of an engine in this process: devices, library versions, and sources that differ."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pytest

from tests.builders import drawn_faces, encoded, write
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.embedding import distributed, pipeline
from unveil.embedding.distributed import RecordRange, SourceSpec, WorkerInput, embed_distributed
from unveil.embedding.embed import EmbeddedSource, embed_source
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.pipeline import ImagePreprocessor, PipelineSizes
from unveil.engine import Engine, WorkerFailure
from unveil.errors import EngineError, ModelError, SourceError
from unveil.images import Location
from unveil.io.storage import LocalStorage
from unveil.io.trust import StoreKey
from unveil.progress import Silent

T = TypeVar("T")
R = TypeVar("R")
SIZES = PipelineSizes(images_per_shard=3)
NO_MODEL = ChannelConfig(models=(), channels=("appearance",))


class SerialEngine:
    """Opens the task again for each item, as a worker of its own would, and calls ``before`` with its number."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self._before = before

    def map(
        self,
        name: str,
        task: Callable[[], Callable[[T], R]],
        items: Iterable[T],
        *,
        finished: Callable[[T], None] = lambda item: None,
        **options: Any,
    ) -> Iterator[R]:
        for number, item in enumerate(items):
            self._before(number)
            yield task()(item)
            finished(item)


class CrashingEngine(SerialEngine):
    """Ends the worker of every range with one of some records, unless the range names it as crashing."""

    def __init__(self, *crashing: int) -> None:
        super().__init__()
        self._crashing = crashing

    def map(self, name: str, task: Any, items: Iterable[Any], **options: Any) -> Iterator[Any]:
        for item in items:
            if any(item.start <= i < item.stop and i not in item.crashing for i in self._crashing):
                yield WorkerFailure("killed")
            else:
                yield from super().map(name, task, [item], **options)


@pytest.fixture
def spec(tmp_path: Path) -> SourceSpec:
    for i, face in enumerate(drawn_faces(8)):
        write(tmp_path / f"images/{i}.png", encoded(face))
    return SourceSpec(Location(str(tmp_path / "images")))


@pytest.fixture
def preprocessor() -> ImagePreprocessor:
    return AuditEmbedder(NO_MODEL, {}).preprocessor(ImageAlignment(None, ""))


def embed_with(engine: SerialEngine, spec: SourceSpec, preprocessor: ImagePreprocessor, folder: Path) -> EmbeddedSource:
    source, storage = spec.open(), folder / "store"
    worker_input = WorkerInput.create(spec, NO_MODEL, preprocessor)
    elsewhere = partial(
        embed_distributed,
        *(cast("Engine", engine), source, worker_input, str(storage), StoreKey.own(), "images", Silent(), 0.0, SIZES),
    )
    return embed_source(
        source, preprocessor, LocalStorage(storage), [folder / "v.npy"], sizes=SIZES, embed_elsewhere=elsewhere
    )


def test_workers_embed_as_this_process_does(
    spec: SourceSpec, preprocessor: ImagePreprocessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_workers = embed_with(SerialEngine(), spec, preprocessor, tmp_path)
    local = embed_source(spec.open(), preprocessor, LocalStorage(tmp_path / "local"), [tmp_path / "w.npy"])
    assert by_workers.embedded.ids == local.embedded.ids and len(local.embedded) == 8
    assert np.array_equal(by_workers.embedded.vectors, local.embedded.vectors)
    assert by_workers.embedded.fingerprint == local.embedded.fingerprint
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_workers_of_another_account_seal_with_the_key_of_the_driver(
    spec: SourceSpec,
    preprocessor: ImagePreprocessor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = os.environ["UNVEIL_KEY"]

    def other_account(number: int) -> None:
        monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "their-key"))

    expected = embed_with(SerialEngine(other_account), spec, preprocessor, tmp_path).embedded
    monkeypatch.setenv("UNVEIL_KEY", own)
    again = embed_with(SerialEngine(), spec, preprocessor, tmp_path).embedded
    assert np.array_equal(again.vectors, expected.vectors) and "another user" not in caplog.text
    monkeypatch.setenv("UNVEIL_KEY", str(tmp_path / "new-key"))
    embed_with(SerialEngine(), spec, preprocessor, tmp_path)
    assert "3 of 3 shards in" in caplog.text and "--trust-store" in caplog.text


def test_workers_with_other_library_versions_are_a_warning_and_have_shards_of_their_own(
    spec: SourceSpec,
    preprocessor: ImagePreprocessor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def other_versions(number: int) -> None:
        monkeypatch.setattr(pipeline, "library_versions", lambda: f"opencv {number % 2}")

    expected = embed_with(SerialEngine(), spec, preprocessor, tmp_path / "a").embedded
    mixed = embed_with(SerialEngine(other_versions), spec, preprocessor, tmp_path / "b").embedded
    assert "different devices or library versions" in caplog.text
    assert np.array_equal(mixed.vectors, expected.vectors) and mixed.fingerprint != expected.fingerprint
    assert len([folder for folder in (tmp_path / "b/store").iterdir() if folder.is_dir()]) == 2


def test_a_worker_with_other_models_or_images_is_an_error(
    spec: SourceSpec, preprocessor: ImagePreprocessor, tmp_path: Path
) -> None:
    worker_input = WorkerInput.create(spec, NO_MODEL, preprocessor)
    with pytest.raises(ModelError, match="a worker has other models"):
        replace(worker_input, configurations=("other",)).open()
    with pytest.raises(SourceError, match="every machine of the cluster must have the images"):
        replace(worker_input, source=SourceSpec(Location(str(tmp_path / "nowhere")))).open()
    source, _ = worker_input.open()
    records = RecordRange.from_records(source.records, 2, 5)
    assert records.of(source) == source.records[2:5]
    write(tmp_path / "images/00.png", encoded(drawn_faces(1)[0]))
    with pytest.raises(SourceError, match="a worker found other images"):
        records.of(spec.open())


def test_images_that_crash_the_decoder_are_located_and_rejected(
    spec: SourceSpec, preprocessor: ImagePreprocessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = embed_with(CrashingEngine(1, 5), spec, preprocessor, tmp_path)
    assert {(r.id, r.stage, r.reason) for r in found.rejects} == {
        ("1.png", "decode", "crashes the decoder"),
        ("5.png", "decode", "crashes the decoder"),
    }
    assert found.embedded.ids == ("0.png", "2.png", "3.png", "4.png", "6.png", "7.png")
    assert "`5.png` ends every process that decodes it and is rejected" in caplog.text


def test_workers_that_end_whichever_image_they_decode_are_an_error(
    spec: SourceSpec, preprocessor: ImagePreprocessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "MAX_CRASHING", 7)
    with pytest.raises(
        EngineError, match=r"workers end while embedding images, whichever image they decode \(killed\)"
    ):
        embed_with(CrashingEngine(*range(8)), spec, preprocessor, tmp_path)


def test_a_cluster_uses_the_processor_unless_a_device_is_named() -> None:
    engine = cast("Engine", SerialEngine())
    automatic = replace(NO_MODEL, device="auto")
    assert AuditEmbedder(automatic, {}, engine=engine).config.device == "cpu"
    assert AuditEmbedder(automatic, {}).config.device == "auto"
    assert AuditEmbedder(replace(NO_MODEL, device="torch"), {}, engine=engine).config.device == "torch"
