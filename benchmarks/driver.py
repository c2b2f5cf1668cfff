"""Own memory of the process that starts an audit, by the number of synthetic images and by stage.

    python -m benchmarks.driver --images 2000000 5000000 10000000

Vectors have few dimensions and the real sets are small: what is left is what each synthetic image takes. People have
ten images. Each audit is a process of its own, in which ``run_audit`` reads ``.npy`` files. Own memory is what no file
holds: ``RssAnon`` and ``RssShmem``. Columns in mapped files are pages of the page cache, which the kernel can write
out, so they are shown by themselves. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from unveil.auditor import run_audit
from unveil.config.parsing import settings_from
from unveil.io.host import cores, processor
from unveil.progress import Silent

PER_PERSON = 10
POLL_SECONDS = 0.05
BLOCK = 1_000_000
OWN, MAPPED = ("RssAnon", "RssShmem"), ("RssFile",)


class _Stages(Silent):
    """Writes the name of each stage to a file when it begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, stage: str, total: int, unit: str) -> None:
        self._path.write_text(stage)


def write_set(path: Path, n: int, dims: int, seed: int) -> None:
    """Writes random vectors and the numbers of their people."""
    rng = np.random.default_rng(seed)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (n, dims))
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        array[start : start + size] = rng.normal(size=(size, dims))
    array.flush()
    np.save(path.with_suffix(".labels.npy"), np.arange(n) // PER_PERSON)


def audit(folder: Path, top_k: int) -> None:
    """The audit, in this process."""
    places = {role: f"embeddings:{folder / f'{role}.npy'}" for role in ("synthetic", "training", "control")}
    run_audit(settings_from({**places, "out": folder / "run", "top_k": top_k}), _Stages(folder / "stage"))


def measured(folder: Path, top_k: int) -> tuple[dict[str, int], int, float]:
    """The most own memory in each stage and of mapped files, in bytes, and the CPU seconds of the audit."""
    most: dict[str, int] = {}
    mapped, name = 0, "opening the sets"
    command = [sys.executable, "-m", "benchmarks.driver", "--audit", str(folder), str(top_k)]
    process = subprocess.Popen(command)  # noqa: S603
    status, stage = Path(f"/proc/{process.pid}/status"), folder / "stage"
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        name = (stage.read_text() if stage.exists() else "") or name
        sizes = {
            line.partition(":")[0]: int(line.split()[1]) * 1024
            for line in status.read_text().splitlines()
            if line.startswith("Rss")
        }
        most[name] = max(most.get(name, 0), sum(sizes.get(kind, 0) for kind in OWN))
        mapped = max(mapped, sum(sizes.get(kind, 0) for kind in MAPPED))
        time.sleep(POLL_SECONDS)
    _, code, used = ended
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"the audit ended with {process.returncode}")
    return most, mapped, used.ru_utime + used.ru_stime


def main() -> None:
    if sys.argv[1:2] == ["--audit"]:
        audit(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000_000, 5_000_000, 10_000_000])
    parser.add_argument("--real", type=int, default=600, help="training images, and as many control images")
    parser.add_argument("--dims", type=int, default=8)
    parser.add_argument("--top-k", type=int, default=10, help="matches of each image by cosine; in mapped files")
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores, Python {platform.python_version()}")
    print(f"{args.real} training and {args.real} control images, {args.dims} dimensions\n")
    found: list[tuple[int, dict[str, int]]] = []
    for n in args.images:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for seed, (role, size) in enumerate({"synthetic": n, "training": args.real, "control": args.real}.items()):
                write_set(folder / f"{role}.npy", size, args.dims, seed)
            stages, mapped, cpu = measured(folder, args.top_k)
        found.append((n, stages))
        most_own = max(stages.values()) / 2**20
        print(f"{n:,} images: own memory {most_own:,.0f} MiB, mapped {mapped / 2**20:,.0f} MiB, {cpu:,.0f} CPU s")
        for stage, most in stages.items():
            print(f"    {most / 2**20:8,.0f} MiB  {stage}", flush=True)
    for (n, before), (m, after) in pairwise(found):
        print(f"{n:,} to {m:,}: {(max(after.values()) - max(before.values())) / (m - n):.0f} bytes an image")


if __name__ == "__main__":
    main()
