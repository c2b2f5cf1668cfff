"""Addresses: retries, refusals, and messages without credentials."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import known_implementations
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import drawn_faces, encoded, write
from tests.io.s3 import KEY, SECRET, Gate, Server
from unveil.config.parsing import settings_from
from unveil.errors import SettingError, SourceError, StoreError
from unveil.images import open_source
from unveil.io.remote import (
    _check_protocols,
    absolute_place,
    check_address,
    retry_seconds,
    with_retries,
    without_secrets,
)
from unveil.io.storage import RemoteStorage


class Reopens(logging.Handler):
    """Opens a gate at the first retry."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def emit(self, record: logging.LogRecord) -> None:
        if "attempt" in record.getMessage():
            self._gate.open()


def test_an_unreachable_address_is_retried_and_every_retry_is_logged(
    s3: str, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    logger, reopens = logging.getLogger("unveil"), Reopens(gate)
    logger.addHandler(reopens)
    try:
        storage = RemoteStorage(f"{s3}/store")
        storage.write("a", b"1")
        gate.shut()
        storage.write("b", b"2")
        assert storage.read_now("b") == b"2"
        gate.shut()
    finally:
        logger.removeHandler(reopens)
    first, *_, last = caplog.records
    assert first.levelno == logging.WARNING and f"{s3}/store/b: unreachable" in first.getMessage()
    assert "attempt 2 in" in first.getMessage() and "reachable again after" in last.getMessage()
    assert SECRET not in caplog.text


def test_retries_on_a_source_are_logged(
    s3: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "in/p/1.png", encoded(drawn_faces(1)[0]))
    fsspec.filesystem("s3").put(str(tmp_path / "in"), f"{s3}/in", recursive=True)
    gate = Gate(server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    logger, reopens = logging.getLogger("unveil"), Reopens(gate)
    logger.addHandler(reopens)
    try:
        source = open_source(f"{s3}/in")
        gate.shut()
        assert source.read(source.records[0]) == (tmp_path / "in/p/1.png").read_bytes()
        gate.shut()
    finally:
        logger.removeHandler(reopens)
    assert any("unreachable" in record.getMessage() and record.levelno == logging.WARNING for record in caplog.records)


def test_retries_end(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise ConnectionRefusedError("no answer, see https://u:pw@h/x?token=abc")

    with pytest.raises(StoreError, match=r"unreachable for 1 s, 3 attempts .* Run the same command again") as caught:
        with_retries("s3://b/x", fail, 1.2)
    assert len(attempts) == 3 and len(caplog.records) == 2
    assert "pw@" not in str(caught.value) + caplog.text and "abc" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("403"), "access is refused"),
        (TypeError("no such argument"), "cannot be used"),
        (OSError(28, "No space left on device"), "cannot be used"),
    ],
)
def test_what_no_retry_can_repair_fails_at_once(
    error: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(StoreError, match=message):
        with_retries("s3://b/x", fail, 60)
    assert not caplog.records


def test_the_time_of_retries_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNVEIL_RETRY_SECONDS", raising=False)
    assert retry_seconds() == 300
    monkeypatch.setenv("UNVEIL_RETRY_SECONDS", "1.5")
    assert retry_seconds() == 1.5
    for wrong in ("soon", "-1", "nan", "inf", ""):
        monkeypatch.setenv("UNVEIL_RETRY_SECONDS", wrong)
        with pytest.raises(SettingError, match="UNVEIL_RETRY_SECONDS should be a number"):
            retry_seconds()


def test_addresses_hold_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for good in (
        "s3://bucket/a b/c",
        "https://host/file.zip?download=true",
        "gs://b/x",
        "memory://x",
        "s3://b/a@b.zip",
        "zip://x::s3://b/y",
    ):
        assert check_address(good) == good
    for bad in (
        f"ftp://user:{SECRET}@host/x",
        f"https://host/x?X-Amz-Signature={SECRET}",
        f"https://host/x?sv=1&sig={SECRET}",
        f"s3://{KEY}:{SECRET}@bucket/x",
        f"https://host/x?token={SECRET}",
        f"zip://a.zip::https://user:{SECRET}@host/x.zip",
        f"simplecache::s3://{KEY}:{SECRET}@bucket/x",
        f"filecache::https://host/x?sig={SECRET}",
        f"tar://x::sftp://user:{SECRET}@host/p",
        f"https://host/x#token={SECRET}",
        f"https://host/p;token={SECRET}",
        f"https://host/p?auth={SECRET}",
        f"https://host/p?pwd={SECRET}",
        f"https://host/p?key={SECRET}",
        f"az://container/x?{SECRET}",
        f"https://user:{SECRET}/more@host/x",
        f"https://user:{SECRET}@more@host/x",
        f"https://user:{SECRET} more@host/x",
        f"https://user:it's{SECRET}@host/x",
        f's3://{KEY}:"{SECRET}"@bucket/x',
    ):
        with pytest.raises(SettingError, match="holds credentials") as caught:
            check_address(bad)
        assert SECRET not in str(caught.value)
        with pytest.raises((SettingError, SourceError)) as refused:
            open_source(bad)
        assert SECRET not in str(refused.value)
        with pytest.raises(SettingError):
            settings_from({"synthetic": "a", "training": "b", "out": bad})
    monkeypatch.setenv("MY_SECRET_THING", SECRET)
    assert without_secrets(f"failed: {SECRET}") == "failed: ***"
    monkeypatch.setenv("PWD", "/home/user/faces")
    assert without_secrets("failed: /home/user/faces/a.png") == "failed: /home/user/faces/a.png"


@given(st.text(st.characters(exclude_characters="/@\"'?", exclude_categories=("Z", "C")), min_size=1, max_size=40))
def test_the_user_of_an_address_is_in_no_message(user: str) -> None:
    assert without_secrets(f"failed at https://{user}:pw@host/x") == "failed at https://host/x"


def test_a_path_is_made_absolute_and_an_address_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_place("store") == str(tmp_path / "store")
    assert absolute_place("s3://b/store") == "s3://b/store"


def test_a_remote_folder_reads_like_a_local_one(s3: str, tmp_path: Path) -> None:
    for i, face in enumerate(drawn_faces(4)):
        write(tmp_path / f"in/p{i % 2}/{i}.png", encoded(face))
    write(tmp_path / "in/notes.txt", "not an image")
    fsspec.filesystem("s3").put(str(tmp_path / "in"), f"{s3}/in", recursive=True)
    here, there = open_source(tmp_path / "in"), open_source(f"{s3}/in")
    assert [(r.id, r.person) for r in there.records] == [(r.id, r.person) for r in here.records]
    assert [there.read(r) for r in there.records] == [here.read(r) for r in here.records]
    assert "not read: 1 files whose names are those of no images, which were not looked into" in there.notes
    with pytest.raises(SourceError):
        open_source(f"{s3}/nothing")


@pytest.mark.parametrize(
    "chain",
    [
        *("file://{}", "local://{}", "simplecache::file://{}", "filecache://x::local://{}", "simplecache://x::{}"),
        *("reference://a::file://{}", "reference::https://127.0.0.1:1/r.json", "dir::file://{}", "generic://x"),
        *("simplecache::reference::s3://b/r.json", "zip://a.png::s3://b/a.zip", "tar://::https://127.0.0.1:1/a.tar"),
    ],
)
def test_an_address_leads_to_nothing_but_what_it_names(chain: str, tmp_path: Path) -> None:
    """Links would be followed and pipes waited for, and a list of references names any file and server."""
    write(tmp_path / "set/a.png", b"x")
    os.mkfifo(tmp_path / "set/pipe.png")
    place = chain.format(tmp_path / "set")
    with pytest.raises((SourceError, StoreError), match=r"expected an address of (another machine|files), found"):
        open_source(place)
    for good in ("s3://bucket/x", "simplecache::https://host/x", "plugin-of-yours://x"):
        _check_protocols(good, known_implementations, local=False)
