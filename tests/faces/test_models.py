"""Model files: names, descriptions, packs, registering, and fetching from a server that misbehaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import SHARED, encoded, needs_real_data, write
from tests.models import described_model, impure_model, small_model, spot_detector
from unveil.channels.base import ChannelConfig
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import ModelError
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.models import DetectorSpec, ModelSpec, library, load_detector, load_model
from unveil.faces.models import fetch as fetching
from unveil.faces.models.fetch import FetchLimits, fetch
from unveil.faces.models.library import find_model, installed_models, verify_installed
from unveil.faces.models.spec import description_path, spec_from_facts
from unveil.faces.models.table import Download
from unveil.faces.register import register_model
from unveil.images import open_source
from unveil.io import redirects
from unveil.io.redirects import Reach

MODEL = small_model()
AT_ONCE = FetchLimits(wait=0)
SHA = hashlib.sha256(MODEL).hexdigest()
FACTS = {
    **{"name": "tiny", "input_size": 112, "channels": "RGB", "mean": [127.5] * 3, "std": [127.5] * 3},
    **{"alignment": "arcface112", "dimension": 4, "licence": "none", "trained_on": "nobody"},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """The tiny model, as if it were in the table."""
    spec = spec_from_facts(dict(FACTS), SHA, "here")
    assert isinstance(spec, ModelSpec)
    for module in (fetching, library):
        monkeypatch.setattr(module, "model_table", lambda: {SHA: spec})
    monkeypatch.setattr(library, "file_names", lambda: {SHA: ("tiny.onnx",)})
    return spec


# --- names and descriptions


def test_packs_of_insightface_are_found_one_level_deeper_too(home: Path, known: ModelSpec) -> None:
    for place in ("models/pack/tiny.onnx", "models/antelopev2/antelopev2/tiny.onnx"):
        path = write(home / ".insightface" / place, MODEL)
        assert find_model("tiny") == path and load_model("tiny") == (known, MODEL)
        path.unlink()


def test_a_damaged_file_is_recognised_by_its_name(home: Path, known: ModelSpec) -> None:
    path = write(home / ".insightface/models/pack/tiny.onnx", MODEL[:-7])
    with pytest.raises(ModelError, match=rf"tiny has sha256 {SHA}, this file has .* it is damaged or another file"):
        load_model("tiny")
    assert [(one.installed.path, one.state) for one in verify_installed()] == [(path, "damaged")]


def test_the_error_of_a_missing_model_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"unveil models fetch buffalo_sc .*non-commercial"):
        load_model("w600k_mbf")
    with pytest.raises(ModelError, match=r"installed: none\)\. unveil models list"):
        load_model("arcface")
    with pytest.raises(ModelError, match="no such file"):
        load_model("some/where.onnx")
    with pytest.raises(ModelError, match="a folder"):
        load_model(Path("tests"))
    spec, _ = load_model("dlib_resnet_v1")
    assert spec == load_model(None)[0]


def test_checkpoints_are_not_opened(tmp_path: Path) -> None:
    for head in (b"PK\x03\x04", b"\x80\x02}"):
        with pytest.raises(ModelError, match=r"PyTorch checkpoint, which can run code .* torch.onnx.export"):
            load_model(write(tmp_path / "adaface.ckpt", head + bytes(100)))


def manifest(version: int = 2, **recognition: Any) -> dict[str, Any]:
    known = {"file": "net.onnx", "preprocessing": "embedded", "embedding_dimension": 4, **recognition}
    if version == 1:
        files = {"recognizer": "net.onnx", "detector": "spots.onnx"}
        known = {k: v for k, v in known.items() if k != "file"}
        return {"manifest_version": 1, "model_id": "lynx", "files": files, "recognition": known}
    detection = {"file": "spots.onnx", "preprocessing": {"mean": 1.0, "std": 2.0}}
    return {"manifest_version": version, "model_id": "lynx", "tasks": {"recognition": known, "detection": detection}}


@pytest.mark.parametrize("version", [1, 2])
def test_insightfaces_manifest_describes_a_model(tmp_path: Path, version: int) -> None:
    model = write(tmp_path / "net.onnx", MODEL)
    write(tmp_path / "manifest.json", json.dumps(manifest(version)))
    spec, _ = load_model(model)
    assert (spec.name, spec.mean, spec.std, spec.dimension) == ("lynx", (0, 0, 0), (1, 1, 1), 4)
    assert EmbeddingModel(model).embed(np.full((1, 112, 112, 3), 9, np.uint8)).shape == (1, 4)
    (tmp_path / "spots.toml").unlink(missing_ok=True)
    detector = spot_detector(tmp_path, "scrfd")
    (tmp_path / "spots.toml").unlink()
    found, _ = load_detector(detector)
    assert found.family == "scrfd" and found.mean[0] == (1.0 if version == 2 else 127.5)
    assert found.channels == "RGB"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (manifest(sha256="0" * 64), "damaged or another"),
        (manifest(preprocessing="whitened"), 'preprocessing` should be "embedded"'),
        (manifest(input_size=[96, 112]), "`input_size` should be a whole number"),
        (manifest(embedding_dimension="many"), "`dimension` should be a whole number"),
        (manifest(version=3), "version 1 or 2 was expected, got version 3"),
        ([1], "is not an InsightFace manifest"),
        ({"manifest_version": 2, "tasks": 3}, "version 1 or 2 was expected"),
        (manifest(file="../net.onnx"), "not in the model table"),
    ],
)
def test_the_error_of_a_wrong_manifest_names_the_key(tmp_path: Path, document: Any, message: str) -> None:
    model = write(tmp_path / "net.onnx", MODEL)
    write(tmp_path / "manifest.json", json.dumps(document))
    with pytest.raises(ModelError, match=message):
        load_model(model)


def test_a_description_of_another_file_is_an_error(tmp_path: Path) -> None:
    model = described_model(tmp_path, MODEL)
    write(tmp_path / "net.toml", (tmp_path / "net.toml").read_text() + f'\nsha256 = "{"1" * 64}"\n')
    with pytest.raises(ModelError, match=f"sha256 {'1' * 64}, this one has {SHA}: it is damaged or another"):
        load_model(model)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mean", f"[1{'0' * 400}, 0, 0]", "`mean` should be three finite numbers"),
        ("std", "[inf, inf, inf]", "`std` should be three finite numbers"),
        ("mean", f"[1{'0' * 5000}, 0, 0]", "is not valid TOML"),
        ("mean", "[" * 5000 + "]" * 5000, "is not valid TOML"),
        ("licence", f'"{"x" * 5000}"', "`licence` should be at most 2000 characters"),
        ("name", '"w600k_r50"', "w600k_r50 is a known model"),
        ("name", '"dlib_resnet_v1"', "dlib_resnet_v1 is a known model"),
    ],
)
def test_a_hostile_description_is_an_error(tmp_path: Path, key: str, value: str, message: str) -> None:
    model = described_model(tmp_path, MODEL)
    lines = (tmp_path / "net.toml").read_text().splitlines()
    write(tmp_path / "net.toml", "\n".join([line for line in lines if not line.startswith(key)] + [f"{key} = {value}"]))
    with pytest.raises(ModelError, match=message):
        load_model(model)


def test_a_file_is_not_registered_as_another_model(tmp_path: Path) -> None:
    model = write(tmp_path / "net.onnx", MODEL)
    with pytest.raises(ModelError, match="w600k_r50 is a known model"):
        register_model(model, family="arcface", name="w600k_r50")
    with model.open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(ModelError, match="cannot be read"):
        register_model(model, family="arcface")


# --- registering


def test_a_model_of_a_family_is_registered_and_used_by_name(tmp_path: Path) -> None:
    model = write(tmp_path / "mine.onnx", MODEL)
    spec, path = register_model(model, family="adaface", licence='MIT "as is"', trained_on="WebFace4M, größer")
    assert isinstance(spec, ModelSpec) and (spec.channels, spec.dimension) == ("BGR", 4)
    assert path == tmp_path / "library/mine/mine.onnx" and load_model("mine") == (spec, MODEL)
    assert [one.name for one in installed_models()] == ["mine"] and [one.state for one in verify_installed()] == [
        "good"
    ]
    register_model(model, family="adaface", licence='MIT "as is"', trained_on="WebFace4M, größer")
    write(tmp_path / "mine.onnx", small_model(dimension=8))
    with pytest.raises(ModelError, match="exists and differs"):
        register_model(tmp_path / "mine.onnx", family="adaface")
    write(path, MODEL[:-9])
    assert [one.state for one in verify_installed()] == ["damaged"]


def test_adaface_gets_the_input_that_its_authors_define(tmp_path: Path) -> None:
    """mk-minchul/AdaFace, to_input: BGR, ((x / 255) - 0.5) / 0.5."""
    spec, path = register_model(write(tmp_path / "ada.onnx", MODEL), family="adaface")
    assert isinstance(spec, ModelSpec)
    crop = np.random.default_rng(1).integers(0, 256, (1, 112, 112, 3), np.uint8)
    expected_input = ((crop[0][:, :, ::-1] / 255.0) - 0.5) / 0.5
    weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = expected_input.mean((0, 1)) @ weights
    got = EmbeddingModel(path).embed(crop)[0]
    assert np.allclose(got, expected / np.linalg.norm(expected), atol=1e-4)


def test_detectors_and_described_models_are_registered_unchanged(tmp_path: Path) -> None:
    spec, path = register_model(spot_detector(tmp_path / "in"))
    assert isinstance(spec, DetectorSpec) and load_detector("spots")[0] == spec and path.parent.name == "spots"
    with pytest.raises(ModelError, match="letters, digits"):
        register_model(described_model(tmp_path / "d", MODEL, name='"../../up"'))


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_known_model_is_found_whatever_its_file_is_called(name: str | None, tmp_path: Path, known: ModelSpec) -> None:
    spec, path = register_model(write(tmp_path / "m.onnx", MODEL), name=name)
    assert spec.name == (name or "tiny") and find_model(spec.name) == path and load_model(spec.name) == (known, MODEL)
    assert spec.name in {one.name for one in installed_models()}


def test_a_name_stands_for_one_model(tmp_path: Path) -> None:
    """A second file takes over no name, neither that of a description nor that of a file."""
    _, path = register_model(write(tmp_path / "one.onnx", MODEL), family="arcface", name="ours")
    other = small_model(batch=8)
    for file, name in (("a.onnx", "ours"), ("ours.onnx", "ours"), ("a.onnx", "one")):
        with pytest.raises(
            ModelError, match=f"expected a name that no other model on this machine has, found {name} at"
        ):
            register_model(write(tmp_path / file, other), family="arcface", name=name)
    assert find_model("ours") == find_model("one") == path
    register_model(write(tmp_path / "ours.onnx", other), family="arcface", name="theirs")
    assert find_model("ours") == path, "the name in a description comes before that of a file"
    theirs = find_model("theirs")
    described = description_path(theirs).read_text().replace('"theirs"', '"ours"')
    write(description_path(theirs), described)
    with pytest.raises(ModelError, match="ours: expected one model of this name, found"):
        find_model("ours")


def test_the_same_weights_with_another_description_are_another_model(tmp_path: Path) -> None:
    """They take over no name: their vectors are others."""
    model = write(tmp_path / "ours.onnx", MODEL)
    spec, path = register_model(model, family="arcface")
    described = description_path(path).read_text()
    with pytest.raises(ModelError, match="expected the description that this model is installed with"):
        register_model(model, family="adaface")
    with pytest.raises(ModelError, match="expected a name that no other model on this machine has"):
        register_model(write(tmp_path / "copy.onnx", MODEL), family="adaface", name="ours")
    assert description_path(path).read_text() == described and load_model("ours")[0] == spec
    register_model(model, family="arcface", licence="MIT")  # what decides no vector can be corrected
    assert load_model("ours")[0].licence == "MIT"
    write(path.parent / "copy.toml", described.replace('"RGB"', '"BGR"'))
    write(path.parent / "copy.onnx", MODEL)
    with pytest.raises(ModelError, match="ours: expected one model of this name, found"):
        find_model("ours")


def test_a_model_that_does_not_run_is_not_installed(tmp_path: Path) -> None:
    for weights, family, message in (
        (MODEL, "yunet", "open or square input"),
        (b"none", "arcface", "cannot be loaded"),
        (small_model(outputs=2), "arcface", "gives one vector"),
        (small_model(size=96), "arcface", "does not run"),
        (MODEL, "facenet", "should be one of arcface"),
    ):
        with pytest.raises(ModelError, match=message):
            register_model(write(tmp_path / "n.onnx", weights), family=family)
        assert not (tmp_path / "library/n").exists()


@pytest.mark.parametrize(
    ("fault", "reason"), [("chance", "(chance|other images)"), ("batch", "other images"), ("sum", "other images")]
)
def test_a_model_that_is_no_function_of_one_image_is_refused(fault: str, reason: str, tmp_path: Path) -> None:
    model = described_model(tmp_path, impure_model(fault))
    with pytest.raises(ModelError, match=f"depends on (the )?{reason}"):
        register_model(model)
    assert not (tmp_path / "library").exists() or not list((tmp_path / "library").iterdir())
    write(tmp_path / "images/a.png", encoded(np.zeros((112, 112, 3), np.uint8)))
    with pytest.raises(ModelError, match=f"depends on (the )?{reason}"):
        AuditEmbedder(ChannelConfig(models=(str(model),)), {"synthetic": open_source(tmp_path / "images")})


def test_a_graph_for_one_image_is_run_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, path = register_model(described_model(tmp_path, impure_model("one")))
    model = EmbeddingModel(path)
    assert model.batch == 1 and "embedded one by one" in caplog.text
    crops = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), np.uint8)
    assert np.array_equal(model.embed(crops), np.concatenate([model.embed(crop[None]) for crop in crops]))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16])
def test_a_fixed_batch_is_filled(n: int, tmp_path: Path) -> None:
    _, path = register_model(write(tmp_path / "eight.onnx", small_model(batch=8)), family="arcface")
    crops = np.random.default_rng(1).integers(0, 256, (n, 112, 112, 3), np.uint8)
    expected = EmbeddingModel(described_model(tmp_path / "open", MODEL)).embed(crops)
    assert EmbeddingModel(path).embed(crops) == pytest.approx(expected, abs=1e-5)


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives one vector"):
        register_model(described_model(tmp_path, small_model(outputs=2)))


# --- fetching


@dataclass
class Behaviour:
    """How the server treats the next requests. Each entry of ``cuts`` ends one answer after so many bytes."""

    body: bytes
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    pause: float = 0.0  # before each part of an answer that is cut
    announced: int | None = None
    status: list[int] = field(default_factory=list)
    redirect: str | None = None
    asked: list[str | None] = field(default_factory=list)


@dataclass
class Server:
    """A server on this machine that misbehaves as set."""

    address: str
    behaviour: Behaviour
    handler: type[BaseHTTPRequestHandler]


@pytest.fixture
def server() -> Iterator[Server]:
    does = Behaviour(MODEL)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            does.asked.append(self.headers.get("Range"))
            if does.status:
                self.send_error(does.status.pop(0))
                return
            if does.redirect is not None and not self.path.endswith("/moved/tiny.onnx"):
                self.send_response(302)
                self.send_header("Location", does.redirect)
                self.end_headers()
                return
            start = 0
            asked = self.headers.get("Range")
            if asked and does.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(does.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(does.body) - 1}/{len(does.body)}")
            else:
                self.send_response(200)
            rest = does.body[start:]
            self.send_header("Content-Length", str(does.announced or len(rest)))
            self.end_headers()
            cut = does.cuts.pop(0) if does.cuts else None
            self.wfile.write(rest[:cut])
            self.wfile.flush()
            if cut is not None and does.pause:
                time.sleep(does.pause)

        def log_message(self, format: str, *args: Any) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    running = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{running.server_port}", does, Handler)
    running.shutdown()
    running.server_close()
    thread.join()


def download(server: Server, sha256: str = SHA, file: str = "tiny.onnx") -> Download:
    return Download("tiny", f"{server.address}/{file}", sha256, "none", {"tiny.onnx": SHA})


def test_a_model_is_fetched_with_progress(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    found = fetch(download(server), advance=lambda done, total: progress.append((done, total)))
    assert found == [(known, tmp_path / "library/tiny/tiny.onnx")] and load_model("tiny") == (known, MODEL)
    assert progress[-1] == (len(MODEL), len(MODEL)) and server.behaviour.asked == [None]
    assert not (tmp_path / "library/.parts").exists()


def test_an_interrupted_fetch_is_resumed(server: Server, known: ModelSpec) -> None:
    server.behaviour.cuts = [100, 50]
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known
    assert server.behaviour.asked == [None, "bytes=100-", "bytes=150-"]


def test_a_server_without_ranges_is_asked_for_the_whole_file(server: Server, known: ModelSpec) -> None:
    server.behaviour.cuts, server.behaviour.ranges = [100], False
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known


def test_a_slow_server_is_asked_again(server: Server, known: ModelSpec) -> None:
    server.behaviour.cuts, server.behaviour.pause = [100], 1.0
    assert fetch(download(server), limits=FetchLimits(timeout=0.2, wait=0))[0][0] == known
    assert server.behaviour.asked == [None, "bytes=100-"]


def test_received_bytes_are_stored_when_a_server_gives_up(server: Server, known: ModelSpec) -> None:
    server.behaviour.cuts = [10] * 5
    with pytest.raises(ModelError, match=r"tried 5 times, 50 bytes were received and stored.*--from FOLDER"):
        fetch(download(server), limits=AT_ONCE)
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known and server.behaviour.asked[-1] == "bytes=50-"
    server.behaviour.status = [503, 500]
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known


def test_wrong_content_is_deleted_unopened(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    server.behaviour.body = b"<html>Please log in</html>" * 9
    with pytest.raises(ModelError, match=r"sha256 [0-9a-f]{64} was expected, got [0-9a-f]{64}; the received file"):
        fetch(download(server), limits=AT_ONCE)
    assert not list((tmp_path / "library").rglob("*.part")) and not list((tmp_path / "library").rglob("*.onnx"))
    # The stored half of a wrong file does not block the right file for ever.
    server.behaviour.cuts = [10] * 5
    with pytest.raises(ModelError, match="tried 5 times"):
        fetch(download(server), limits=AT_ONCE)
    server.behaviour.body = MODEL
    with pytest.raises(ModelError, match="was deleted unopened"):
        fetch(download(server), limits=AT_ONCE)
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known


def test_redirects_are_followed_within_http_only(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    server.behaviour.redirect = f"{server.address}/moved/tiny.onnx"
    assert fetch(download(server))[0][0] == known
    secret = write(tmp_path / "secret.onnx", MODEL)
    server.behaviour.redirect = secret.as_uri()
    with pytest.raises(ModelError):
        fetch(download(server), limits=AT_ONCE)
    handler = fetching._SafeRedirects(fetching._Trail())
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(ModelError, match="which is not encrypted"):
        handler.redirect_request(request, io.BytesIO(), 302, "", None, "http://example.org/a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", ["http://moved.test:{port}/moved/tiny.onnx", "http://127.0.0.%31:{port}/moved/tiny.onnx"]
)
def test_a_name_that_leads_elsewhere_after_it_was_checked_is_not_asked(
    server: Server, known: ModelSpec, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A public server redirects to a name of a public address, which is that of this machine a moment later."""
    port = server.address.rpartition(":")[2]
    server.behaviour.redirect = target.format(port=port)
    look_up, reach_of = socket.getaddrinfo, redirects.reach_of
    answers = {"server.test": ["127.0.0.9"], "moved.test": ["127.0.0.9", "127.0.0.1"], "127.0.0.%31": ["127.0.0.9"]}

    def changing(host: Any, *args: Any, **options: Any) -> Any:
        own = answers.get(str(host), [host])
        return look_up(own.pop(0) if len(own) > 1 else own[0], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    monkeypatch.setattr(redirects, "reach_of", lambda ip: Reach.INTERNET if ip == "127.0.0.9" else reach_of(ip))
    with ThreadingHTTPServer(("127.0.0.9", int(port)), server.handler) as public:
        public.daemon_threads = True
        threading.Thread(target=public.serve_forever, daemon=True).start()
        elsewhere = Download("tiny", f"http://server.test:{port}/tiny.onnx", SHA, "none", {"tiny.onnx": SHA})
        with pytest.raises(ModelError, match=r"server\.test: expected the file, found a redirect into this machine"):
            fetch(elsewhere, limits=AT_ONCE)
        public.shutdown()
    assert server.behaviour.asked == [None], "nothing was sent to this machine"


def test_the_address_is_checked_before_encryption_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = fetching._EncryptedConnection(f"127.0.0.1:{listening.getsockname()[1]}")
        connection.trail, connection.through_proxy = fetching._Trail("example.org", Reach.INTERNET), False
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", lambda *_, **__: begun.append(1))
        with pytest.raises(ModelError, match="into this machine"):
            connection.connect()
        connection.close()
    assert not begun


def test_a_proxy_may_be_in_a_private_network(server: Server, known: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks names up itself, also after a redirect."""
    server.behaviour.redirect = "http://other.invalid/moved/tiny.onnx"
    elsewhere = Download("tiny", "http://models.invalid/tiny.onnx", SHA, "none", {"tiny.onnx": SHA})
    monkeypatch.setenv("http_proxy", server.address)
    assert fetch(elsewhere, limits=AT_ONCE)[0][0] == known


def test_the_size_of_an_answer_is_limited(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    limited = FetchLimits(wait=0, max_bytes=1000)
    server.behaviour.body = bytes(5000)
    with pytest.raises(ModelError, match="at most 1,000 bytes were expected, the server announces 5,000"):
        fetch(download(server), limits=limited)
    server.behaviour.announced = 500
    with pytest.raises(ModelError, match="was deleted unopened"):
        fetch(download(server), limits=limited)
    with pytest.raises(ModelError, match="at most 10 bytes"):
        fetch(download(server), limits=replace(limited, max_bytes=10))
    write(tmp_path / "mirror/tiny.onnx", bytes(5000))
    with pytest.raises(ModelError, match="at most 1,000 bytes were expected, got 5,000"):
        fetch(download(server), mirror=str(tmp_path / "mirror"), limits=limited)


def test_the_error_of_a_wrong_address_says_what_to_do(server: Server, known: ModelSpec) -> None:
    server.behaviour.status = [404]
    with pytest.raises(ModelError, match="the server answered 404 Not Found; check the address"):
        fetch(download(server), limits=AT_ONCE)
    nobody = Download("tiny", "http://127.0.0.1:9/tiny.onnx", SHA, "none", {"tiny.onnx": SHA})
    with pytest.raises(ModelError, match=r"Connection refused.*HTTPS_PROXY"):
        fetch(nobody, limits=AT_ONCE)


def pack(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_only_the_known_files_of_a_pack_are_installed(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    server.behaviour.body = pack(**{"pack/tiny.onnx": MODEL, "../../escaped.txt": b"x", "pack/other.onnx": b"y"})
    packed = download(server, hashlib.sha256(server.behaviour.body).hexdigest(), file="pack.zip")
    assert packed.zipped and fetch(packed) == [(known, tmp_path / "library/tiny/tiny.onnx")]
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"tiny.onnx"}
    for files, message in (
        ({"a.onnx": MODEL}, "contains no tiny.onnx"),
        ({"tiny.onnx": b"no"}, "nothing was installed"),
    ):
        server.behaviour.body = pack(**files)
        with pytest.raises(ModelError, match=message):
            fetch(download(server, hashlib.sha256(server.behaviour.body).hexdigest(), file="pack.zip"))


def test_a_mirror_may_be_a_folder(known: ModelSpec, tmp_path: Path) -> None:
    elsewhere = Download("tiny", "https://example.org/models/tiny.onnx?v=2", SHA, "none", {"tiny.onnx": SHA})
    with pytest.raises(ModelError, match=r"mirror/tiny.onnx: no such file; the mirror should contain tiny.onnx"):
        fetch(elsewhere, mirror=str(tmp_path / "mirror"))
    write(tmp_path / "mirror/tiny.onnx", MODEL)
    assert fetch(elsewhere, mirror=str(tmp_path / "mirror"))[0][0] == known
    write(tmp_path / "mirror/tiny.onnx", MODEL + b"!")
    with pytest.raises(ModelError, match="was deleted unopened"):
        fetch(elsewhere, mirror=str(tmp_path / "mirror"))


def test_a_mirror_may_be_an_address_and_a_proxy_is_used(
    server: Server, known: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Download("tiny", "http://models.invalid/moved/tiny.onnx", SHA, "none", {"tiny.onnx": SHA})
    assert fetch(elsewhere, mirror=f"{server.address}/")[0][0] == known
    with pytest.raises(ModelError, match="tried 5 times"):
        fetch(elsewhere, limits=AT_ONCE)
    monkeypatch.setenv("http_proxy", server.address)
    assert fetch(elsewhere, limits=AT_ONCE)[0][0] == known


SCRIPT = """
import sys
from unveil.faces.models import fetch, library
from unveil.faces.models.table import Download
address, sha = sys.argv[1:]
download = Download("tiny", address + "/tiny.onnx", sha, "none", {"tiny.onnx": sha})
fetch.fetch(download, limits=fetch.FetchLimits(timeout=60))
"""


def test_a_killed_fetch_is_resumed(server: Server, known: ModelSpec, tmp_path: Path) -> None:
    server.behaviour.cuts, server.behaviour.pause = [100], 30.0
    running = subprocess.Popen([sys.executable, "-c", SCRIPT, server.address, SHA], env={**os.environ})
    part = tmp_path / f"library/.parts/{SHA}.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 100) and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    server.behaviour.pause = 0
    assert fetch(download(server), limits=AT_ONCE)[0][0] == known
    assert server.behaviour.asked == [None, "bytes=100-"]


@pytest.mark.real
@needs_real_data
def test_the_table_knows_the_real_files(tmp_path: Path) -> None:
    for name, file in (
        ("w600k_mbf_rebuilt", "w600k_mbf/w600k_mbf_dequant_fp32.onnx"),
        ("mobilefacenet_foamliu", "mobilefacenet/mobilefacenet_foamliu.onnx"),
    ):
        spec, _ = register_model(SHARED / "models" / file)
        assert spec.name == name and load_model(name)[0] == spec
    for name, file in (("yunet", "yunet/face_detection_yunet_2023mar.onnx"), ("det_500m", "scrfd/det_500m.onnx")):
        assert register_model(SHARED / "models" / file)[0].name == name and load_detector(name)[0].name == name
