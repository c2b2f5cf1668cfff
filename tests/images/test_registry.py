"""The tables of forms, readers and writers agree, and a reader of a remote address logs its retries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests import containers as c
from tests.builders import write
from tests.containers import Item
from unveil.errors import SourceError
from unveil.images import LabelRule, Source, open_source
from unveil.images.blob import Blob, BlobView, LocalBlob
from unveil.images.location import FORMS
from unveil.images.registry import READERS
from unveil.images.source import Entry, complete
from unveil.images.writers.registry import WRITERS
from unveil.types import ImageRecord

WITHOUT_A_BLOB = {"folder", "list", "grid"}


def test_every_form_has_a_reader() -> None:
    assert set(READERS) | WITHOUT_A_BLOB == set(FORMS)


def test_every_writer_writes_what_a_reader_reads() -> None:
    readers = {reader for reader in READERS.values() if isinstance(reader, type)}
    assert all(issubclass(kind, Source) for kind in WRITERS)
    assert {kind for kind in WRITERS if kind in readers} == set(WRITERS) - {
        kind for kind in WRITERS if kind.__name__ in ("FolderSource", "ListSource")
    }


class Listed(Source):
    """A reader as a newcomer would write one: names and bytes in a text file, a line an image."""

    kind = "lines"

    def __init__(self, blob: Blob, rule: LabelRule, options: dict[str, str] | None = None) -> None:
        super().__init__(blob.where, rule)
        rows = [line.split(b" ") for line in blob.read_all(1000).splitlines()]
        self._data = [row[2] for row in rows]
        self._set_records(
            (Entry(row[0].decode(), str(k), row[1].decode() or None) for k, row in enumerate(rows)), in_order=True
        )

    def read(self, record: ImageRecord) -> bytes:
        return self._data[int(record.key)]


def test_a_reader_of_one_s_own(tmp_path: Path) -> None:
    path = write(tmp_path / "x.lines", b"a p one\na q two\na~2  three\n")
    source = complete(Listed(LocalBlob(path), LabelRule()))
    assert [(r.id, r.person, source.read(r)) for r in source.records] == [
        ("a", "p", b"one"),
        ("a~3", "q", b"two"),
        ("a~2", None, b"three"),
    ]
    notes = ["people by stored labels: labels are stored in the lines", "1 of 3 images have no label"]
    assert source.notes == notes
    source.records = [*source.records, source.records[0]]
    with pytest.raises(AssertionError, match="share an id"):
        complete(source)


def test_a_view_of_a_blob_counts_from_its_start(tmp_path: Path) -> None:
    blob = LocalBlob(write(tmp_path / "a", b"0123456789"))
    view = BlobView(blob, 4)
    assert view.size == 6 and view.read(1, 3) == b"567" and view.read(5, 9) == b"9" and view.read(6, 1) == b""
    other = view.sibling("a")
    assert other is not None and other.size == 10 and view.sibling("b") is None


class TestRetries:
    @pytest.fixture
    def memory(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
        """A file system in memory whose next calls fail, as many as `left` says."""
        files = fsspec.filesystem("memory")
        files.store.clear()
        failing = {"left": 0}
        for name in ("info", "cat_file", "find", "isdir", "exists"):
            action = getattr(type(files), name)

            def flaky(self: Any, *args: Any, action: Any = action, **options: Any) -> Any:
                if failing["left"] > 0:
                    failing["left"] -= 1
                    raise ConnectionError("the network is down")
                return action(self, *args, **options)

            monkeypatch.setattr(type(files), name, flaky)
        monkeypatch.setattr("unveil.io.remote.time.sleep", lambda seconds: None)
        return failing

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_a_reader_logs_that_an_address_is_unreachable(
        self, kind: str, memory: dict[str, int], items: list[Item], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = fsspec.filesystem("memory")
        if kind == "file":
            files.pipe_file("/set/x.zip", c.zipped(tmp_path, items).read_bytes())
        else:
            for item in items:
                files.pipe_file(f"/set/{item.name}", item.data)
        place = "memory://set/x.zip" if kind == "file" else "memory://set"
        with caplog.at_level(logging.WARNING, "unveil"):
            memory["left"] = 1
            source = open_source(place)
            assert memory["left"] == 0 and "unreachable" in caplog.text and place in caplog.text
            caplog.clear()
            memory["left"] = 2
            assert source.read(source.records[3]) == items[3].data
        assert memory["left"] == 0 and caplog.text.count("the network is down") == 2

    def test_a_file_that_is_gone_is_not_retried(self, memory: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(SourceError, match="a file was expected"):
            open_source("memory://set/nothing.zip")
        assert not caplog.records
