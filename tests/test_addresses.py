"""Pictures, stores and runs at addresses: an S3-compatible server on loopback, which also goes away."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import encoded, write
from tests.cli.runner import unveil as command_line
from unveil.config.parsing import settings_from
from unveil.demo.world import World
from unveil.errors import SettingError, SourceError, StoreError
from unveil.images import open_source
from unveil.io.remote import check_address, with_retries, without_secrets
from unveil.io.remote_run import INDEX, RemoteRun, local_copy
from unveil.io.run_directory import MARK
from unveil.io.storage import Cache, LocalStorage, RemoteStorage, open_storage
from unveil.runs.finished import FinishedRun

SECRET, KEY = "a-very-secret-value-0123456789", "KEYIDOFNOBODY000"


class Server:
    """moto's S3 server in a process of its own, which forgets everything when it ends."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


class Gate:
    """A way to a server that can be shut and opened again."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self._open: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listening.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._open += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._forward, args=(a, b), daemon=True).start()

    @staticmethod
    def _forward(a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 16):
                b.sendall(data)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of one's own, with credentials in the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "UNVEIL_CACHE": str(tmp_path / "cache"),
        "RAY_worker_niceness": "0",  # else Ray's workers wait for all other tests
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"bucket-{time.monotonic_ns()}"
    fsspec.filesystem("s3").mkdir(bucket)
    yield f"s3://{bucket}"
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def unveil(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unveil", *map(str, arguments)], capture_output=True, text=True, timeout=240
    )


def test_an_audit_at_addresses_is_the_audit_here(
    s3: str, world: World, audited: tuple[object, Path], tmp_path: Path
) -> None:
    files = fsspec.filesystem("s3")
    for role in ("synthetic", "training", "control"):
        files.put(str(getattr(world, role)), f"{s3}/{role}", recursive=True)
    places = [f"--{role}={s3}/{role}" for role in ("synthetic", "training", "control")]
    done = unveil("audit", *places, "-o", f"{s3}/runs/one", "--planted-leaks", "quick", "--log", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert f"Copied to {s3}/runs/one" in done.stdout
    here = audited[1]
    there = Path(tmp_path / "fetched")
    files.get(f"{s3}/runs/one/", str(there), recursive=True)
    for name in ("people.parquet", "matches.parquet", "pairs.parquet", "stores/synthetic.npy", "stores/state.npz"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert json.loads((there / "manifest.json").read_text())["status"] == "finished"
    # Embeddings went to the store beside the run.
    assert files.find(f"{s3}/runs/unveil-store")
    # By the workers of a cluster, which reach the same addresses, into a store of their own.
    ray = ["--planted-leaks=off", "--engine=ray", f"--store={s3}/other"]
    by_ray = unveil("audit", *places, *ray, "-o", tmp_path / "by-ray")
    assert by_ray.returncode == 0 and files.find(f"{s3}/other"), by_ray.stderr
    for name in ("people.parquet", "stores/training.npy", "stores/control.npy"):
        assert (tmp_path / "by-ray" / name).read_bytes() == (there / name).read_bytes(), name

    # The run is used from its address, also where there is no copy of it yet.
    os.rename(local_copy(f"{s3}/runs/one"), tmp_path / "moved")  # noqa: PTH104
    report = unveil("report", f"{s3}/runs/one", "--redact")
    assert report.returncode == 0, report.stderr
    files.invalidate_cache()
    assert files.exists(f"{s3}/runs/one/report.redacted.html")
    guard = unveil("guard", "build", f"{s3}/runs/one", "-o", tmp_path / "guard")
    assert guard.returncode == 0, guard.stderr

    # Credentials are nowhere but in the environment.
    told = [done.stdout, done.stderr, by_ray.stdout, by_ray.stderr, report.stdout, guard.stdout]
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 40
    for secret in (SECRET, KEY):
        assert not any(secret in text for text in told)
        assert not [file for file in written if secret.encode() in file.read_bytes()]


def test_a_run_with_other_settings_is_not_written_over(s3: str, world: World, store: Path) -> None:
    settings = settings_from({"synthetic": world.synthetic, "training": world.training, "out": f"{s3}/run"})
    published = RemoteRun(f"{s3}/run")
    document = {"format": MARK, "status": "finished", "settings": {**settings.facts(), "top_k": 7}}
    write(published.folder / "manifest.json", json.dumps(document))
    published.push()
    where = [f"--synthetic={world.synthetic}", f"--training={world.training}", f"--store={store}"]
    other = command_line("audit", *where, "-o", f"{s3}/run")
    assert other.returncode == 2 and "holds an audit with other settings (top_k)" in other.stderr


def test_out_of_reach_for_a_while(s3: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, said = Gate(server.port), list[str]()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()

    def hear(text: str) -> None:
        said.append(text)
        if "back" not in text:
            gate.open()

    storage = RemoteStorage(f"{s3}/store", hear)
    storage.write("a", b"1")
    gate.shut()
    storage.write("b", b"2")
    assert storage.read_now("b") == b"2"
    gate.shut()
    assert "out of reach" in said[0] and "try 2 in" in said[0] and any("back after" in text for text in said)
    assert SECRET not in " ".join(said)


def test_out_of_reach_for_good() -> None:
    tries, said = list[int](), list[str]()

    def away() -> None:
        tries.append(1)
        raise ConnectionRefusedError(f"no answer, token={SECRET}")

    with pytest.raises(StoreError, match=r"out of reach for 1 s, tried 3 times .* run the same command again"):
        with_retries("s3://b/x", away, said.append, 1.2)
    assert len(tries) == 3 and len(said) == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError("403"), "access is refused"),
        (TypeError("no such argument"), "cannot be used"),
        (OSError(28, "No space left on device"), "cannot be used"),
    ],
)
def test_what_no_waiting_mends_is_told_at_once(error: Exception, told: str) -> None:
    def fail() -> None:
        raise error

    tried: list[str] = []
    with pytest.raises(StoreError, match=told):
        with_retries("s3://b/x", fail, tried.append, patience=60)
    assert not tried


def test_addresses_hold_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for good in ("s3://bucket/a b/c", "https://host/file.zip?download=true", "gs://b/x", "memory://x"):
        assert check_address(good) == good
    for bad in (
        f"ftp://user:{SECRET}@host/x",
        f"https://host/x?X-Amz-Signature={SECRET}",
        f"https://host/x?sv=1&sig={SECRET}",
        f"s3://{KEY}:{SECRET}@bucket/x",
        f"https://host/x?token={SECRET}",
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


@given(st.text(max_size=80))
def test_any_text_can_be_told(text: str) -> None:
    told = without_secrets(f"https://user:pw@host/{text}")
    assert "pw@" not in told.split(" ")[0] or "@" in text


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
    with pytest.raises(StoreError, match="can be read only"):
        open_storage("https://host/x")
    with pytest.raises(StoreError, match="Protocol not known"):
        open_storage("nonsense://x")


def test_no_bucket_is_a_message(s3: str) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        open_storage("s3://nobody-made-this-bucket/x").write("a", b"1")


def test_the_cache_stays_small_and_trusts_nothing(tmp_path: Path) -> None:
    cache = Cache("s3://a", 10_000, tmp_path)
    for i in range(100):
        cache.write(f"{i:03d}", bytes([i]) * 400)
        os.utime(next((tmp_path).rglob(f"{i:03d}")), (i, i))
        cache.read("000")
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in kept) <= 10_000
    assert cache.read("099") == b"c" * 400 and cache.read("001") is None
    assert cache.read("000") == b"\0" * 400, "what was used last should go last"
    cache.write("large", b"x" * 9_000)
    assert cache.read("large") is None
    file = next(tmp_path.rglob("099"))
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"z"):
        file.write_bytes(damaged)
        assert cache.read("099") is None
    assert Cache("s3://b", 10_000, tmp_path).read("099") is None


def test_published_runs(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{s3}/run"
    first = RemoteRun(address)
    first.pull()
    write(first.folder / "a/b.txt", "1")
    write(first.folder / "manifest.json", "{}")
    write(first.folder / "work/private", "2")
    assert first.push() == 2 and first.push() == 0
    files = fsspec.filesystem("s3")
    assert not files.exists(f"{address}/work/private")

    monkeypatch.setenv("UNVEIL_CACHE", str(tmp_path / "elsewhere"))
    second = RemoteRun(address)
    second.pull()
    assert (second.folder / "a/b.txt").read_text() == "1" and second.folder != first.folder
    write(second.folder / "a/b.txt", "changed")
    assert second.push() == 1
    write(first.folder / "a/b.txt", "changed otherwise")
    with pytest.raises(StoreError, match="somebody else has changed it"):
        first.push()

    index = json.loads(files.cat_file(f"{address}/{INDEX}"))
    files.pipe_file(f"{address}/{INDEX}", json.dumps({**index, "../../escaped": "0" * 64}).encode())
    with pytest.raises(StoreError, match="leaves the folder"):
        RemoteRun(address).pull()
    assert not list(tmp_path.rglob("escaped"))
    files.pipe_file(f"{address}/{INDEX}", b"[]")
    with pytest.raises(StoreError, match="damaged"):
        RemoteRun(address)
    with pytest.raises(StoreError, match="holds no audit"):
        FinishedRun(second.folder)


def test_a_remote_folder_is_read_like_one_here(s3: str, tmp_path: Path) -> None:
    from tests.builders import drawn_faces

    for i, face in enumerate(drawn_faces(4)):
        write(tmp_path / f"in/p{i % 2}/{i}.png", encoded(face))
    write(tmp_path / "in/notes.txt", "no image")
    fsspec.filesystem("s3").put(str(tmp_path / "in"), f"{s3}/in", recursive=True)
    here, there = open_source(tmp_path / "in"), open_source(f"{s3}/in")
    assert [(r.id, r.person) for r in there.records] == [(r.id, r.person) for r in here.records]
    assert [there.read(r) for r in there.records] == [here.read(r) for r in here.records]
    with pytest.raises(SourceError):
        open_source(f"{s3}/nothing")


def test_a_full_disk_ends_with_what_to_do(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs to be root")
    places = [f"--synthetic={world.synthetic}", f"--training={world.training}", "--planted-leaks", "off"]
    try:
        full = unveil("audit", *places, "-o", tmp_path / "run", "--store", small)
        assert full.returncode == 2 and "the disk is full; make room" in full.stderr and "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        again = unveil("audit", *places, "-o", tmp_path / "run", "--store", small)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
