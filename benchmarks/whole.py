"""A whole audit of embeddings beside the comparison that it cannot do without: CPU seconds and own memory.

    python -m benchmarks.whole --synthetic 500000 --training 490000 --control 196000

Vectors are those of compare.py, people of ten images in every set. Each step is a process of its own: one comparison of
the synthetic set with the training and the control set, the audit, and the finished audit again, ``--repetitions``
times. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.compare import vectors
from unveil import native
from unveil.compare import compare_all
from unveil.io.host import cores, processor

ROLES = ("synthetic", "training", "control")
PER_PERSON = 10
# What an audit stores by cosine: closest images of each synthetic image, by role, and closest pairs of all.
TOP_K, TOP_PAIRS = {"training": 10, "control": 1}, 10_000
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Measured:
    """One process: its CPU and wall seconds, the most of its own memory and of all resident memory, in MiB."""

    cpu: float
    wall: float
    own: float
    resident: float


def measured(command: Sequence[str], messages: Path) -> Measured:
    """Runs a command to its end; what it writes to standard error goes to a file. Raises SystemExit if it fails."""
    start, most = time.perf_counter(), {"RssAnon": 0, "VmRSS": 0}
    with messages.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)  # noqa: S603
        status = Path(f"/proc/{process.pid}/status")
        while True:
            pid, code, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            for line in status.read_text().splitlines():
                name = line.partition(":")[0]
                if name in most:
                    most[name] = max(most[name], int(line.split()[1]))
            time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {messages.read_text()[-2000:]}")
    wall = time.perf_counter() - start
    return Measured(used.ru_utime + used.ru_stime, wall, most["RssAnon"] / 1024, most["VmRSS"] / 1024)


def write_sets(folder: Path, sizes: dict[str, int], dims: int) -> None:
    """Writes the vectors of each role and the numbers of their people."""
    for seed, (role, n) in enumerate(sizes.items(), 1):
        np.save(folder / f"{role}.npy", vectors(n, dims, seed, flat=False))
        np.save(folder / f"{role}.labels.npy", np.arange(n) // PER_PERSON)


def compare(folder: Path) -> None:
    """The one comparison, in this process."""
    synthetic = np.load(folder / "synthetic.npy", mmap_mode="r")
    for role, top_k in TOP_K.items():
        gallery = np.load(folder / f"{role}.npy", mmap_mode="r")
        compare_all(synthetic, gallery, top_k=top_k, top_pairs=TOP_PAIRS, moments=False)


def main() -> None:
    if sys.argv[1:2] == ["--compare"]:
        compare(Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for role, n in zip(ROLES, (60_000, 60_000, 20_000), strict=True):
        parser.add_argument(f"--{role}", type=int, default=n)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=3, help="of the finished audit")
    parser.add_argument("--folder", type=Path, help="an existing folder for the sets and the run; they stay there")
    args = parser.parse_args()
    sizes = {role: getattr(args, role) for role in ROLES}
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary) if args.folder is None else args.folder
        if not all((folder / f"{role}.npy").exists() for role in ROLES):
            write_sets(folder, sizes, args.dims)
        _, kernel = native.load()
        sets = ", ".join(f"{n:,} {role}" for role, n in sizes.items())
        print(f"{processor()}, {cores()} cores, Python {platform.python_version()}; {kernel}\n{sets} x {args.dims}\n")
        print(
            "| step | CPU s | wall s | own memory, MiB | resident, MiB | load |\n|---|---|---|---|---|---|", flush=True
        )
        run, messages = folder / "run", folder / "messages"  # a file beside the sets would count as another input
        messages.mkdir(exist_ok=True)
        one = show(
            "one comparison",
            measured([sys.executable, "-m", "benchmarks.whole", "--compare", str(folder)], messages / "compare.txt"),
        )
        shutil.rmtree(run, ignore_errors=True)
        places = [word for role in ROLES for word in (f"--{role}", f"embeddings:{folder / f'{role}.npy'}")]
        audit = [sys.executable, "-m", "unveil", "audit", *places, "-o", str(run)]
        whole = show("audit", measured(audit, messages / "audit.txt"))
        again = [measured(audit, messages / "again.txt") for _ in range(args.repetitions)]
        if again:
            show(
                "audit again",
                Measured(*(statistics.median(values) for values in zip(*map(_values, again), strict=True))),
            )
        lines = (messages / "audit.txt").read_text().splitlines()
        print(f"\naudit / one comparison: {whole.cpu / one.cpu:.2f}; {len(lines)} lines on standard error")


def _values(step: Measured) -> tuple[float, float, float, float]:
    return step.cpu, step.wall, step.own, step.resident


def show(name: str, step: Measured) -> Measured:
    """Prints a row of the table."""
    load = os.getloadavg()[0]
    print(
        f"| {name} | {step.cpu:.1f} | {step.wall:.1f} | {step.own:,.0f} | {step.resident:,.0f} | {load:.1f} |",
        flush=True,
    )
    return step


if __name__ == "__main__":
    main()
