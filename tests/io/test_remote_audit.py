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

from tests.builders import write
from tests.io.s3 import KEY, SECRET
from unveil.config.parsing import settings_from
from unveil.demo.world import World
from unveil.io.remote_run import RemoteRun, local_copy
from unveil.io.run_directory import MARK


def unveil(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unveil", *map(str, arguments)], capture_output=True, text=True, timeout=240
    )


def test_an_audit_at_addresses_equals_a_local_one(
    s3: str, world: World, audited: tuple[object, Path], tmp_path: Path
) -> None:
    files = fsspec.filesystem("s3")
    for role in ("synthetic", "training", "control"):
        files.put(str(getattr(world, role)), f"{s3}/{role}", recursive=True)
    places = [f"--{role}={s3}/{role}" for role in ("synthetic", "training", "control")]
    done = unveil("audit", *places, "-o", f"{s3}/runs/one", "--planted-leaks", "quick", "--log", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert f"{s3}/runs/one" in done.stdout
    here = audited[1]
    there = Path(tmp_path / "fetched")
    files.get(f"{s3}/runs/one/", str(there), recursive=True)
    for name in ("people.parquet", "matches.parquet", "stores/synthetic.npy"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    # This file also holds the key of its audit, which depends on the place of the images.
    assert pq.read_table(there / "pairs.parquet").equals(pq.read_table(here / "pairs.parquet"))
    assert json.loads((there / "manifest.json").read_text())["status"] == "finished"
    # Embeddings went to the store beside the run.
    assert files.find(f"{s3}/runs/unveil-store")
    # Workers of a cluster reach the same addresses.
    ray = ["--planted-leaks=off", "--engine=ray", f"--store={s3}/other"]
    by_ray = unveil("audit", *places, *ray, "-o", tmp_path / "by-ray")
    assert by_ray.returncode == 0 and files.find(f"{s3}/other"), by_ray.stderr
    for name in ("people.parquet", "stores/training.npy", "stores/control.npy"):
        assert (tmp_path / "by-ray" / name).read_bytes() == (there / name).read_bytes(), name

    # The run can be used from its address where there is no local copy yet.
    os.rename(local_copy(f"{s3}/runs/one"), tmp_path / "moved")  # noqa: PTH104
    report = unveil("report", f"{s3}/runs/one", "--redact")
    assert report.returncode == 0, report.stderr
    files.invalidate_cache()
    assert files.exists(f"{s3}/runs/one/report.redacted.html")
    # A command that fails uploads nothing.
    write(local_copy(f"{s3}/runs/one") / "report.html", "half done")
    failed = unveil("guard", "build", f"{s3}/runs/one", "-o", tmp_path / "moved/report.html")
    assert failed.returncode == 2 and files.cat_file(f"{s3}/runs/one/report.html") != b"half done", failed.stderr

    # Credentials are nowhere but in the environment.
    printed = [done.stdout, done.stderr, by_ray.stdout, by_ray.stderr, report.stdout, failed.stderr]
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 40
    for secret in (SECRET, KEY):
        assert not any(secret in text for text in printed)
        assert not [file for file in written if secret.encode() in file.read_bytes()]


def test_a_remote_run_with_other_settings_is_not_overwritten(s3: str, world: World, store: Path) -> None:
    settings = settings_from({"synthetic": world.synthetic, "training": world.training, "out": f"{s3}/run"})
    run = RemoteRun(f"{s3}/run")
    document = {"format": MARK, "status": "finished", "settings": {**settings.facts(), "top_k": 7}}
    write(run.folder / "manifest.json", json.dumps(document))
    run.push()
    where = [f"--synthetic={world.synthetic}", f"--training={world.training}", f"--store={store}"]
    other = unveil("audit", *where, "-o", f"{s3}/run")
    assert other.returncode == 2 and "holds an audit with other settings (top_k)" in other.stderr


def test_a_full_disk_is_a_message_and_the_audit_resumes(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    places = [f"--synthetic={world.synthetic}", f"--training={world.training}", "--planted-leaks", "off"]
    try:
        full = unveil("audit", *places, "-o", tmp_path / "run", "--store", small)
        assert full.returncode == 2 and "the disk is full" in full.stderr and "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        again = unveil("audit", *places, "-o", tmp_path / "run", "--store", small)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
