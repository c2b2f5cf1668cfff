"""The command line as people and pipelines use it: in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unveil as package
from tests.builders import SHARED, needs_real_data, write
from tests.cli.runner import unveil
from tests.conftest import Precomputed
from tests.models import small_model
from unveil.demo.world import World, make_world
from unveil.images import open_source

UNVEIL = [sys.executable, "-m", "unveil"]


def roles(world: World | Precomputed) -> list[object]:
    return ["--synthetic", world.synthetic, "--training", world.training, "--control", world.control]


def test_help_teaches() -> None:
    shown = unveil("--help")
    assert shown.returncode == 0 and "unveil demo" in shown.stdout and "--synthetic SYN" in shown.stdout
    for command in ("audit", "demo"):
        told = unveil(command, "--help")
        assert told.returncode == 0 and "Usage" in told.stdout
    assert "Exit codes" in unveil("audit", "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from unveil.cli import app; print([m for m in sys.modules if m in %r])"
    heavy = ["numpy", "scipy", "onnxruntime", "cv2", "dlib", "pyarrow", "PIL", "onnx", "jinja2", "platformdirs"]
    shown = subprocess.run([sys.executable, "-c", program % (heavy,)], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_audit_imports_models_and_servers_when_it_needs_them() -> None:
    program = "import sys, unveil.auditor; print([m for m in sys.modules if m in %r])"
    rare = ["asyncio", "google.protobuf", "onnx", "onnxruntime", "dlib", "torch"]
    shown = subprocess.run([sys.executable, "-c", program % (rare,)], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_info_says_which_comparator_runs_and_why() -> None:
    told = unveil("info")
    assert told.returncode == 0
    for name in ("auto", "native", "onnxruntime", "torch", "numpy", "cpu", "cuda", "tensorrt"):
        assert re.search(rf"^{name} +\S", told.stdout, re.MULTILINE), told.stdout
    assert f"unveil {package.__version__}" in told.stdout and "cores" in told.stdout


def test_models_are_listed_added_and_used_by_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    significant = unveil("models", "list")
    assert significant.returncode == 0 and not significant.stderr
    assert re.search(r"^dlib_resnet_v1 +here +128 ", significant.stdout, re.MULTILINE)
    assert re.search(r"^w600k_r50 +fetch +512 ", significant.stdout, re.MULTILINE)
    assert re.search(r"^yunet +fetch +MIT", significant.stdout, re.MULTILINE)
    assert "no models in" in unveil("models", "verify").stdout

    told = unveil(
        "models", "add", write(tmp_path / "mine.onnx", small_model()), "--family", "adaface", "--licence", "MIT"
    )
    assert told.returncode == 0 and "BGR" in told.stdout and "Use it with --model mine" in told.stdout
    assert re.search(r"^mine +here +4 +MIT", unveil("models", "list").stdout, re.MULTILINE)
    assert "adaface" not in unveil("models", "show", "mine").stdout
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(world.synthetic.rglob("*.png"))[:4]:
        write(few / file.name, file.read_bytes())
    done = unveil("embed", few, "--model", "mine", "-o", tmp_path / "e.npz")
    assert done.returncode == 0 and "4 embedded" in done.stdout, done.stderr
    (tmp_path / "library/mine/mine.onnx").write_bytes(small_model()[:-5])
    checked = unveil("models", "verify")
    assert checked.returncode == 1 and checked.stdout.startswith("damaged")
    done = unveil("embed", few, "--model", "mine", "-o", tmp_path / "f.npz")
    assert done.returncode == 2 and "it is damaged or another" in done.stderr


def test_nothing_is_fetched_before_the_licence_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    asked = unveil("models", "fetch", "w600k_mbf")
    assert asked.returncode == 2 and "buffalo_sc from https://" in asked.stdout
    assert "Licence: InsightFace: non-commercial research only" in asked.stdout
    assert "pass --accept-licence" in asked.stderr and not (tmp_path / "library").exists()
    mirror = tmp_path / "mirror"
    write(mirror / "face_detection_yunet_2023mar.onnx", b"something else")
    wrong = unveil("models", "fetch", "yunet", "--accept-licence", "--from", mirror)
    assert wrong.returncode == 2 and "was deleted unopened" in wrong.stderr and "Traceback" not in wrong.stderr
    nothing = unveil("models", "fetch", "facenet")
    assert nothing.returncode == 2 and "buffalo_l" in nothing.stderr
    missing = unveil("models", "show", "facenet")
    assert missing.returncode == 2 and "unveil models list" in missing.stderr


@pytest.mark.real
@needs_real_data
def test_a_detector_from_a_mirror_is_used_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNVEIL_MODELS", str(tmp_path / "library"))
    done = unveil("models", "fetch", "yunet", "--accept-licence", "--from", SHARED / "models/yunet")
    assert done.returncode == 0 and "--detector yunet" in done.stdout, done.stderr
    photographs = open_source(SHARED / "lfw/lfw_raw250.zip")
    for record in photographs.records[:100]:
        write(tmp_path / "photographs" / record.id, photographs.read(record))
    done = unveil("embed", tmp_path / "photographs", "--detector", "yunet", "-o", tmp_path / "e.npz")
    assert done.returncode == 0 and "100 embedded and 0 rejected" in done.stdout, done.stderr


def test_version() -> None:
    assert unveil("--version").stdout.startswith("unveil 0.")


def test_audit_prints_verdict_counts_and_where_the_report_is(world: World, store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    audit = ("audit", *roles(world), "-o", run, "--store", store, "--planted-leaks", "quick")
    done = unveil(*audit, "--fail-on", "leak", "--verbose")
    assert done.returncode == 1, done.stderr
    assert done.stdout.lstrip().startswith("LEAK FOUND")
    assert "140 files in = 140 embedded + 0 rejected" in done.stdout
    assert "21,000 pairs = 140 x 150, all of them" in done.stdout
    assert str(run / "report.html") in done.stdout and "person-0" in done.stdout
    assert "detection limit" in done.stdout and "quality 30: 100%" in done.stdout
    assert "At least" in done.stdout and "with 95% confidence" in done.stdout
    assert "of them are expected to be false" in done.stdout and "Estimated share of training people" in done.stdout
    assert "risk of singling out: " in done.stdout and "risk of inference: not assessed. " in done.stdout
    assert "aligned crops" in done.stderr and "landmarks of" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "%" not in done.stderr, "no progress bar where nobody looks"

    again = unveil(*audit, "--redact")
    assert again.returncode == 0
    assert "person-0" not in again.stdout and (run / "report.redacted.html").exists()

    short = unveil("audit", *roles(world), "-o", "run", *audit[-4:], cwd=tmp_path)
    result, _, follows = short.stdout.strip().partition("\nnext:\n")
    assert sum(-(-len(line) // 80) or 1 for line in result.splitlines()) <= 20 and "person-0" in result
    assert "unveil clean run --copy cleaned" in follows and "landmarks" not in short.stderr
    assert unveil(*audit, "--quiet").stdout == "leak found\n"
    document = unveil(*audit, "--json", "--quiet")
    assert document.stdout.encode() == (run / "audit.json").read_bytes() and not document.stderr
    assert unveil(*audit, "--json", "--redact").stdout.encode() == (run / "audit.redacted.json").read_bytes()


def test_verdicts_that_fail_a_pipeline(precomputed: Precomputed, tmp_path: Path) -> None:
    alone = ["audit", *roles(precomputed)[:4], "--planted-leaks", "off"]
    done = unveil(*alone, "-o", tmp_path / "a", "--fail-on", "leak")
    assert done.returncode == 1 and "LEAK INDICATED (NO CONTROL SET)" in done.stdout
    unlabelled = [*alone, "--labels", "folder", "--training-labels", "none"]
    done = unveil(*unlabelled, "-o", tmp_path / "b", "--fail-on", "leak")
    assert done.returncode == 3 and "Next step: --control." in done.stdout
    assert unveil(*unlabelled, "-o", tmp_path / "b", "--fail-on", "inconclusive").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["audit"], "found no --synthetic, --training, --out"),
        (["audit", "--synthetic", "nowhere", "--training", "nowhere", "-o", "run"], "nowhere: no such file or folder"),
        (
            ["audit", "--synthetic", "s", "--training", "t", "-o", "r", "--fdr", "7"],
            "fdr: expected a number of at least 0.0001 and at most 0.5, found 7. Leave fdr out to use 0.05",
        ),
        (
            ["audit", "--synthetic", "s", "--training", "t", "-o", "r", "--aligned", "perhaps"],
            "aligned: expected one of auto, yes, no",
        ),
        (
            ["audit", "--synthetic", "s", "--training", "t", "-o", "r", "--planted-leaks", "much"],
            "planted_leaks: expected one of full, quick, off, found 'much'",
        ),
        (["audit", "--synthetic", "s", "--training", "t", "-o", "r", "--training-labels", "x"], "'x'"),
        (["audit", "--settings", "gone.toml"], "gone.toml: expected a readable TOML file, found no file."),
        (["audit", "--colour"], "No such option"),
        (["nothing"], "No such command"),
        (["demo", "-o", "full"], "expected a new folder or one of a demo, found other files in full"),
    ],
)
def test_bad_input_ends_with_two_and_says_what_to_do(tmp_path: Path, arguments: list[str], told: str) -> None:
    write(tmp_path / "full/thesis.txt", "text")
    for name in ("s", "t"):
        (tmp_path / name).mkdir()
    done = unveil(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_unknown_network_shows_what_to_write(world: World, tmp_path: Path) -> None:
    model = write(tmp_path / "net.onnx", b"some network")
    done = unveil("audit", *roles(world), "--model", model, "-o", tmp_path / "run")
    assert done.returncode == 2 and "net.toml" in done.stderr and "input_size = 112" in done.stderr


def test_settings_file_and_flags(precomputed: Precomputed, tmp_path: Path) -> None:
    settings = f"""
synthetic = "{precomputed.synthetic}"
training = "{precomputed.training}"
control = "{precomputed.control}"
planted_leaks = "off"
out = "unused"
seed = 5
fdr = 0.1

[labels]
training = "folder"
"""
    write(tmp_path / "audit.toml", settings)
    words = ("audit", "--settings", "audit.toml", "-o", "run", "--fdr", "0.05")
    refused = unveil(*words, cwd=tmp_path)
    assert (
        refused.returncode == 2 and "which a file may not decide" in refused.stderr and not (tmp_path / "run").exists()
    )
    done = unveil(*words, "--trusted", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    used = json.loads((tmp_path / "run/audit.json").read_text())["manifest"]["settings"]
    assert (used["seed"], used["fdr"], used["labels"]["training"]) == (5, 0.05, "folder")
    write(tmp_path / "audit.toml", settings.replace("seed", "sead"))
    wrong = unveil("audit", "--settings", "audit.toml", "--trusted", cwd=tmp_path)
    assert wrong.returncode == 2 and "unknown setting sead" in wrong.stderr


def test_interrupted_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", 3, training=60, control=100, fresh=30, planted=2)  # nothing is in a store
    command = ["audit", *roles(world), "--planted-leaks", "off", "-o", tmp_path / "run"]
    arguments = [*UNVEIL, *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.readline()  # embedding has begun
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again" in told and "Traceback" not in told
    assert unveil(*command).returncode == 0
    # A run and its store are for their owner alone.
    for folder in ("run", "unveil-store"):
        assert (tmp_path / folder).stat().st_mode & 0o077 == 0
