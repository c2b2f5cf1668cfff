"""Audits whose sources, store and run lie at addresses, and audits on a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from tests.builders import drawn_faces, encoded, write
from tests.cli.runner import unveil as command_line
from tests.io.s3 import KEY, SECRET
from unveil.config.parsing import settings_from
from unveil.io.remote_run import RemoteRun, local_copy
from unveil.io.run_directory import AUDIT, FORMAT

ROLES = ("synthetic", "training", "control")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 synthetic images, 6 of them of the 16 training people; 16 control people."""
    folder = tmp_path_factory.mktemp("images")
    faces = drawn_faces(50, 3)
    for i in range(24):
        write(folder / f"synthetic/{i:02d}.png", encoded(faces[i if i < 6 else 26 + i]))
    for i in range(16):
        write(folder / f"training/t{i:02d}/1.png", encoded(faces[i]))
        write(folder / f"control/c{i:02d}/1.png", encoded(faces[16 + i]))
    return folder


@pytest.fixture(scope="module")
def local(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the audit of these images from and to folders."""
    folder = tmp_path_factory.mktemp("local")
    done = command_line("audit", *places(images), "-o", folder / "run", "--store", folder / "store")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def places(root: Path | str) -> list[str]:
    return [*(f"--{role}={root}/{role}" for role in ROLES), "--planted-leaks=off"]


def test_an_audit_at_addresses_equals_a_local_one(s3: str, images: Path, local: Path, tmp_path: Path) -> None:
    printed: list[str] = []

    def run(*arguments: str | Path) -> int:
        done = command_line(*arguments)
        printed.extend([done.stdout, done.stderr])
        return done.returncode

    files = fsspec.filesystem("s3")
    files.put(f"{images}/", f"{s3}/", recursive=True)
    there, run_at = tmp_path / "there", f"{s3}/runs/one"
    assert run("audit", *places(s3), "-o", run_at, "--log", tmp_path / "log") == 0
    files.invalidate_cache()
    files.get(f"{run_at}/", str(there), recursive=True)
    for name in ("people.parquet", "matches.parquet", "stores/synthetic.npy"):
        assert (there / name).read_bytes() == (local / name).read_bytes(), name
    # This file also holds the key of its audit, which depends on the place of the images.
    assert pq.read_table(there / "pairs.parquet").equals(pq.read_table(local / "pairs.parquet"))
    assert json.loads((there / "manifest.json").read_text())["status"] == "finished"
    assert files.find(f"{s3}/runs/unveil-store"), "embeddings should be stored beside the run"

    # The run can be used from its address where there is no local copy yet.
    os.rename(local_copy(run_at), tmp_path / "moved")  # noqa: PTH104
    assert run("report", run_at, "--redact") == 0
    files.invalidate_cache()
    assert files.exists(f"{run_at}/report.redacted.html")
    # A command that fails uploads nothing.
    write(local_copy(run_at) / "report.html", "half done")
    assert run("guard", "build", run_at, "-o", images / "synthetic/00.png") == 2
    assert files.cat_file(f"{run_at}/report.html") != b"half done"

    # Credentials are nowhere but in the environment.
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(run_at in text for text in printed) and len(written) > 40
    for secret in (SECRET, KEY):
        assert not any(secret in text for text in printed)
        assert not [file for file in written if secret.encode() in file.read_bytes()]


@pytest.mark.nightly
def test_workers_of_a_cluster_reach_the_same_addresses(s3: str, images: Path, local: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("s3")
    files.put(f"{images}/", f"{s3}/", recursive=True)
    # Ray is started and shut down in a process of its own.
    command = ["audit", *places(s3), "--engine=ray", f"--store={s3}/store", f"--out={tmp_path / 'by-ray'}"]
    by_ray = subprocess.run([sys.executable, "-m", "unveil", *command], capture_output=True, text=True, timeout=240)
    assert by_ray.returncode == 0 and files.find(f"{s3}/store"), by_ray.stderr
    for name in ("people.parquet", "stores/training.npy", "stores/control.npy"):
        assert (tmp_path / "by-ray" / name).read_bytes() == (local / name).read_bytes(), name
    for secret in (SECRET, KEY):
        assert secret not in by_ray.stdout + by_ray.stderr


def test_a_remote_run_with_other_settings_is_not_overwritten(s3: str, images: Path) -> None:
    settings = settings_from({"synthetic": images / "synthetic", "training": images / "training", "out": f"{s3}/run"})
    run = RemoteRun(f"{s3}/run")
    document = {
        "format": AUDIT.mark,
        "version": FORMAT,
        "status": "finished",
        "settings": {**settings.facts(), "top_k": 7},
    }
    write(run.folder / "manifest.json", json.dumps(document))
    run.push()
    where = [f"--{role}={images / role}" for role in ("synthetic", "training")]
    other = command_line("audit", *where, "-o", f"{s3}/run")
    assert other.returncode == 2 and "holds an audit with other settings (top_k: " in other.stderr


def test_a_full_disk_is_a_message_and_the_audit_resumes(images: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "none", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        full = command_line("audit", *places(images), "-o", tmp_path / "run", "--store", small)
        assert full.returncode == 4 and "the disk is full" in full.stderr and "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        again = command_line("audit", *places(images), "-o", tmp_path / "run", "--store", small)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
