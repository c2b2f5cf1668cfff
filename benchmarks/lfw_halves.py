"""CPU seconds of a whole audit of LFW halves with 700 StyleGAN2 faces by the code of several checkouts.

    python -m benchmarks.lfw_halves --data ../shared/data ../before .

All settings have their defaults. Each checkout is the root of a working tree with its compiled kernel. Every audit is a
process of its own with one BLAS thread and no stored embedding; the checkouts take turns. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.whole import Measured, measured
from unveil.images import open_source
from unveil.io.host import cores, processor

SYNTHETIC = "stylegan2/hardfake_stylegan2_300px.zip"


def write_halves(faces: Path, folder: Path) -> dict[str, Path]:
    """Zips of the images of two random halves of the people, by role."""
    source = open_source(faces)
    names = np.unique([str(record.person) for record in source.records])
    first = set(np.random.default_rng(0).permutation(names)[: len(names) // 2])
    places = {role: folder / f"{role}.zip" for role in ("training", "control")}
    with zipfile.ZipFile(places["training"], "w") as training, zipfile.ZipFile(places["control"], "w") as control:
        for record in source.records:
            (training if record.person in first else control).writestr(record.id, source.read(record))
    return places


def audited(checkout: Path, sets: dict[str, Path], folder: Path, extra: list[str]) -> Measured:
    """One audit by the code of a checkout."""
    words = [word for role, place in sets.items() for word in (f"--{role}", str(place))]
    with tempfile.TemporaryDirectory(dir=folder) as run:
        command = [
            *(sys.executable, "-m", "unveil", "audit", *words, *extra),
            *("-o", run + "/run", "--store", run + "/store"),
        ]
        with patch.dict(
            os.environ, {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        ):
            return measured(command, folder / "messages.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--planted-leaks", choices=("full", "quick", "off"), default="full")
    parser.add_argument("checkouts", type=Path, nargs="+")
    args = parser.parse_args()
    print(f"{processor()}, {cores()} cores; planted leaks {args.planted_leaks}\n")
    print("| commit | CPU s | wall s | own memory, MiB | load |\n|---|---|---|---|---|", flush=True)
    seconds: dict[Path, list[float]] = {checkout.resolve(): [] for checkout in args.checkouts}
    commits = {checkout: _commit(checkout) for checkout in seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"synthetic": args.data.resolve() / SYNTHETIC}
        sets |= write_halves(args.data / "lfw/lfw_aligned112.zip", folder)
        for _ in range(args.repetitions):
            for checkout, used in seconds.items():
                step = audited(checkout, sets, folder, ["--planted-leaks", args.planted_leaks])
                used.append(step.cpu)
                cells = (
                    commits[checkout],
                    f"{step.cpu:.1f}",
                    f"{step.wall:.1f}",
                    f"{step.own:,.0f}",
                    f"{os.getloadavg()[0]:.1f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    medians = {commits[checkout]: statistics.median(used) for checkout, used in seconds.items()}
    first = next(iter(medians.values()))
    for commit, median in medians.items():
        print(f"\n{commit}: median {median:.1f} CPU s, {median / first:.2f} of the first")


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%h"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


if __name__ == "__main__":
    main()
